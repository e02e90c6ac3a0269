"""Exported files, which get their names when they are known to be good."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from peclip_fast.errors import InputError, printable
from peclip_fast.files import PARTIAL, clear_partial
from peclip_fast.stopping import hold


@contextlib.contextmanager
def staged(path: Path, weights: str | None = None) -> Iterator[Path]:
    """Where to write a file; it takes its name when the block ends, if that goes well.

    Until then, and wherever the block ends otherwise, the former file of that name stays.

    Args:
        path: of the file.
        weights: suffix of a second file, which is written next to the first one and belongs to it:
            a kill leaves both of them of one export, or no first one.

    Yields:
        a path of the same last part in a folder of its own, on the same disk.

    Raises:
        InputError: ``path`` is a folder. Errors of the block that name the other path name this.
    """
    files = [path] if weights is None else [path, path.with_suffix(weights)]
    for file in files:
        if file.is_dir():
            raise InputError(f"{file}: a folder; expected the name of a file")
    path.parent.mkdir(parents=True, exist_ok=True)
    clear_partial([path])
    folder = path.with_name(f"{path.name}{PARTIAL}{os.getpid()}")
    side = folder / path.name
    try:
        folder.mkdir()
        yield side
        with hold():
            _rename(folder, files)
    except InputError as error:
        error.args = (str(error).replace(printable(str(side)), printable(str(path))),)
        raise
    except OSError as error:
        if str(error.filename).startswith(str(folder)):
            error.filename = str(path)
        raise
    finally:
        with hold():
            shutil.rmtree(folder, ignore_errors=True)


def _rename(folder: Path, files: list[Path]) -> None:
    """Give the files in a folder their names; if one can't have its name, none has."""
    for file in files:
        with open(folder / file.name, "rb") as written:
            os.fsync(written.fileno())
    formers: list[Path] = []
    try:
        if len(files) > 1:  # none of the former ones may be taken for a part of the new ones
            for file in files:
                if os.path.lexists(file):
                    os.replace(file, folder / f"{file.name}.former")
                    formers.append(file)
        for file in reversed(files):
            os.replace(folder / file.name, file)
    except OSError:
        if len(files) > 1:
            for file in files:
                if not (folder / file.name).exists():
                    file.unlink(missing_ok=True)
            for file in reversed(formers):
                os.replace(folder / f"{file.name}.former", file)
        raise
