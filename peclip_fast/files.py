"""Files that are whole under their name, or not there."""

from __future__ import annotations

import contextlib
import functools
import os
import shutil
import sys
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from peclip_fast.errors import InputError

PARTIAL = ".tmp-"  # and the process's number, at the end of a name while a file is written
ROOM = 1 << 16  # bytes that check_writable tries to write


@contextlib.contextmanager
def naming(path: Path) -> Iterator[None]:
    """Put the file's name into an OSError that has none, as from a write to a full disk."""
    try:
        yield
    except OSError as error:
        if error.filename is not None:
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error


def write_bytes(
    path: Path, data: bytes | bytearray | memoryview, former: Path | None = None
) -> None:
    """Write to the side, flush to the disk, then rename: a kill leaves the old file or the new.

    Args:
        path: of the file.
        data: its content.
        former: what the old file becomes; a kill may then leave it there, and nothing at ``path``.
    """
    side = path.with_name(f"{path.name}{PARTIAL}{os.getpid()}")
    try:
        with naming(path):
            with open(side, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            if former is not None and path.exists():
                os.replace(path, former)
            os.replace(side, path)
    finally:
        side.unlink(missing_ok=True)


@contextlib.contextmanager
def beside(path: Path) -> Iterator[Path]:
    """Where to write a large file to; it takes its name when the block ends, if that goes well."""
    side = path.with_name(f"{path.name}{PARTIAL}{os.getpid()}")
    try:
        with naming(path):
            yield side
            with open(side, "rb") as file:
                os.fsync(file.fileno())
            os.replace(side, path)
    finally:
        side.unlink(missing_ok=True)


def is_partial(path: Path) -> bool:
    """Whether a file was being written when its process was killed."""
    return PARTIAL in path.name


def clear_partial(files: Iterable[Path]) -> None:
    """Remove what there is of these files half written by processes that were ended."""
    wanted = set(files)
    for folder in {file.parent for file in wanted}:
        for path in folder.glob(f"*{PARTIAL}*"):
            if path.with_name(path.name.rpartition(PARTIAL)[0]) not in wanted:
                continue
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()


def write_text(path: Path, text: str) -> None:
    """write_bytes() in UTF-8; what a file's name has that is no text is written as ``\\udce9``."""
    write_bytes(path, text.encode(errors="backslashreplace"))


def check_writable(folder: Path) -> None:
    """Raise InputError if files can't be written to ``folder``, which may not exist yet.

    Nothing is left behind: the trial file has no name.
    """
    existing = folder
    while not os.path.lexists(existing):
        existing = existing.parent
    if not existing.is_dir():
        what = "a link to nothing" if existing.is_symlink() and not existing.exists() else "a file"
        raise InputError(f"{folder}: {existing} is {what}; expected a folder")
    try:
        with tempfile.TemporaryFile(dir=existing) as file:
            file.write(bytes(ROOM))
            file.flush()
    except OSError as error:
        raise InputError(f"{folder}: can't write there ({error.strerror})") from error


def cache_folder() -> Path:
    """Where things are kept that can be made again: ``named_cache()``.

    Where that can't be written, it is a folder of this user's among the temporary files, and a
    warning says so once.
    """
    return _writable(named_cache())


def named_cache() -> Path:
    """$PECLIP_FAST_CACHE, or $XDG_CACHE_HOME/peclip_fast, or ~/.cache's; it may be read-only."""
    if given := os.environ.get("PECLIP_FAST_CACHE"):
        return Path(given)
    base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return Path(base) / "peclip_fast"


@functools.cache
def _writable(folder: Path) -> Path:
    homeless = str(folder).startswith("~")
    with contextlib.suppress(InputError):
        if not homeless:
            check_writable(folder)
            return folder
    try:
        other = Path(tempfile.gettempdir()) / f"peclip_fast-{os.getuid()}"
        other.mkdir(mode=0o700, exist_ok=True)
        if other.is_symlink() or other.stat().st_uid != os.getuid():  # someone else's
            other = Path(tempfile.mkdtemp(prefix="peclip_fast-"))
    except OSError:  # nothing can be written anywhere; who needs the cache says so
        return folder
    where = "no home directory" if homeless else f"{folder}: can't write there"
    print(
        f"warning: {where}: the cache is in {other}; XDG_CACHE_HOME names another place",
        file=sys.stderr,
    )
    return other
