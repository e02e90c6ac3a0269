"""What an archive holds: paths, folders, patterns, lists of them, and URLs."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from peclip_fast.analyze.pipeline.sources import VideoSource, find_sources
from peclip_fast.errors import InputError, one_line
from peclip_fast.text_files import read_lines, read_table

COLUMN = "source"
EXTRA = "pip install 'peclip-fast[ray]'"
_PATTERN = set("*?[")
_AT_ONCE = 10_000  # rows of a Parquet file


def list_sources(given: Sequence[str]) -> Iterator[VideoSource]:
    """Each video, in order; some may come twice.

    Args:
        given: videos, folders and patterns of them, URLs, which may have patterns, and lists: a
            CSV or Parquet file with a column ``source``, or a text file with one in each line.
            Paths in a list are relative to its folder.

    Raises:
        InputError: a list can't be read, is empty or has another form, or nothing matches.
    """
    for name in given:
        kind = Path(name).suffix.lower()
        if kind in _LISTS and VideoSource(name).is_file:
            path, any_came = Path(name), False
            for where, listed in _LISTS[kind](path):
                any_came = True
                yield _listed(listed, path.parent, where)
            if not any_came:
                raise InputError(f"{name}: lists no videos")
        elif not VideoSource(name).is_file and _PATTERN & set(urlsplit(name).path):
            yield from _matching(name)
        else:
            yield from find_sources([name])


def _listed(name: str, folder: Path, where: str) -> VideoSource:
    if not name.strip():
        raise InputError(f"{where}: expected a path or URL")
    source = VideoSource(name)
    if source.is_live or name == "-":
        raise InputError(f"{where}: {name}: expected something that ends and can be read again")
    if source.is_file:
        source = VideoSource(os.path.normpath(folder / name))
        if os.path.isdir(source.name):
            raise InputError(f"{where}: {name}: expected a video file, got a folder")
    return source


def _of_csv(path: Path) -> Iterator[tuple[str, str]]:
    for where, row in read_table(path, [COLUMN]):
        yield where, row[COLUMN]


def _of_text(path: Path) -> Iterator[tuple[str, str]]:
    for where, line in read_lines(path):
        yield where, line.strip()


def _of_parquet(path: Path) -> Iterator[tuple[str, str]]:
    parquet = extra("pyarrow.parquet")
    try:
        file = parquet.ParquetFile(path)
    except (OSError, ValueError) as error:  # ArrowInvalid is a ValueError
        raise InputError(f"{path}: can't be read: {one_line(error)}") from None
    if COLUMN not in file.schema_arrow.names:
        raise InputError(f"{path}: expected a column {COLUMN}, got {file.schema_arrow.names}")
    row = 0
    for batch in file.iter_batches(_AT_ONCE, columns=[COLUMN]):
        for value in batch.column(0).to_pylist():
            row += 1
            if not isinstance(value, str):
                raise InputError(f"{path}: row {row}: expected a path or URL, got {value!r}")
            yield f"{path}: row {row}", value


_LISTS = {".csv": _of_csv, ".txt": _of_text, ".parquet": _of_parquet}


def _matching(pattern: str) -> Iterator[VideoSource]:
    """What a URL with a pattern stands for."""
    fsspec = extra("fsspec")
    try:
        files, paths = fsspec.core.url_to_fs(pattern)
        found = sorted(files.glob(paths))
    except (OSError, ValueError, ImportError) as error:
        raise InputError(f"{pattern}: can't be listed: {one_line(error)}") from None
    if not found:
        raise InputError(f"{pattern}: no file matches")
    for path in found:
        yield VideoSource(files.unstrip_protocol(path))


def extra(module: str) -> Any:
    """A module of the extra ``ray``."""
    import importlib

    try:
        return importlib.import_module(module)
    except ImportError:
        raise InputError(f"{module.split('.')[0]} isn't installed: {EXTRA}") from None
