"""A video of an archive as a file of this machine."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from peclip_fast.analyze.pipeline.sources import VideoSource
from peclip_fast.archive.listing import extra
from peclip_fast.errors import InputError, one_line


@contextlib.contextmanager
def fetched(source: VideoSource) -> Iterator[VideoSource]:
    """The source itself if it is a file, or else a copy of what its URL leads to, for a while.

    Raises:
        InputError: it can't be fetched; names it.
    """
    if source.is_file:
        yield source
        return
    with tempfile.TemporaryDirectory(prefix="peclip-fast-") as folder:
        copy = Path(folder) / f"{source.stem[:80]}{_suffix(source.name)}"
        _fetch(source.name, copy)
        yield VideoSource(str(copy))


def _fetch(url: str, copy: Path) -> None:
    fsspec = extra("fsspec")
    try:
        with fsspec.open(url, "rb") as remote, copy.open("wb") as local:
            shutil.copyfileobj(remote, local, 1 << 20)
    except Exception as error:  # each kind of storage has its own
        raise InputError(
            f"{url}: can't be fetched: {one_line(error) or type(error).__name__}"
        ) from None


def _suffix(url: str) -> str:
    suffix = Path(url.partition("?")[0]).suffix
    return suffix if suffix[1:].isalnum() else ""


def stamp_of(place: str) -> str | None:
    """By which a changed file is known without reading it; None for what is no file there."""
    try:
        found = os.stat(place) if VideoSource(place).is_file else None
    except OSError:
        return None
    return found and f"{found.st_size} {found.st_mtime_ns}"
