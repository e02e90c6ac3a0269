"""Files that are whole under their name, or not there."""

from __future__ import annotations

import contextlib
import os
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


def write_bytes(path: Path, data: bytes | memoryview) -> None:
    """Write to the side, flush to the disk, then rename: a kill leaves the old file or the new."""
    side = path.with_name(f"{path.name}{PARTIAL}{os.getpid()}")
    try:
        with naming(path):
            with open(side, "wb") as file:
                file.write(data)
                file.flush()
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
            if path.with_name(path.name.rpartition(PARTIAL)[0]) in wanted:
                path.unlink()


def write_text(path: Path, text: str) -> None:
    """write_bytes() in UTF-8; what a file's name has that is no text is written as ``\\udce9``."""
    write_bytes(path, text.encode(errors="backslashreplace"))


def check_writable(folder: Path) -> None:
    """Raise InputError if files can't be written to ``folder``, which may not exist yet.

    Nothing is left behind: the trial file has no name.
    """
    existing = folder
    while not existing.exists():
        existing = existing.parent
    if not existing.is_dir():
        raise InputError(f"{folder}: {existing} is a file; expected a folder")
    try:
        with tempfile.TemporaryFile(dir=existing) as file:
            file.write(bytes(ROOM))
            file.flush()
    except OSError as error:
        raise InputError(f"{folder}: can't write there ({error.strerror})") from error


def cache_folder() -> Path:
    """Where things are kept that can be made again: $XDG_CACHE_HOME/peclip_fast or ~/.cache's."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "peclip_fast"
