"""Splits given as list files or as CSV files ``path,label[,start,end]``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from peclip_fast.config.data import DataConfig
from peclip_fast.data.datasets.layout import natural_key
from peclip_fast.data.datasets.lists import read_list
from peclip_fast.data.names import composed, label_of
from peclip_fast.data.records import ClipRecord, DatasetSplits
from peclip_fast.data.text_files import read_csv_rows
from peclip_fast.errors import InputError
from peclip_fast.registry import register_dataset

_CSV_FORM = "path,label or path,label,start,end"


@register_dataset("list", own_lists=True)
def read_lists(config: DataConfig, classes: Sequence[str] | None = None) -> DatasetSplits:
    """Splits from ``data.train_list`` and ``data.test_list``; either may be left out.

    Args:
        config: the files, the root to remap their paths to, and perhaps the class names.
        classes: names for the numbers in the files where the configuration gives none.
    """
    names = tuple(config.classes or classes or ())
    if not names:
        raise InputError("data.classes: needed to name the numbers of the lists, in their order")
    train, test = (
        [] if path is None else _named_numbers(read_list(path, _root(config)), names)
        for path in _files(config)
    )
    return DatasetSplits(config.dataset, names, train, test)


@register_dataset("csv", own_lists=True)
def read_csv(config: DataConfig) -> DatasetSplits:
    """Splits from CSV files; the classes are ``data.classes`` or the labels in order.

    Paths are relative to ``data.root``, or to the file's own folder; start and end are seconds.
    A first line ``path,label,...`` is a header.
    """
    rows = [[] if path is None else _csv_rows(path, _root(config)) for path in _files(config)]
    found = {name for split in rows for name, _ in split}
    classes = tuple(config.classes or sorted(found, key=natural_key))
    train, test = (
        [replace(r, label=label_of(name, classes, r.source, exact=True)) for name, r in split]
        for split in rows
    )
    return DatasetSplits(config.dataset, classes, train, test)


def _files(config: DataConfig) -> tuple[Path | None, Path | None]:
    if config.train_list is None and config.test_list is None:
        raise InputError(f"data.train_list, data.test_list: {config.dataset} needs one of them")
    return config.train_list, config.test_list


def _root(config: DataConfig) -> Path | None:
    if config.root is None:
        return None
    root = Path(config.root).expanduser()
    if not root.is_dir():
        raise InputError(f"data.root: {root} is no folder; expected the one that holds the clips")
    return root


def _named_numbers(records: list[ClipRecord], classes: tuple[str, ...]) -> list[ClipRecord]:
    for record in records:
        if record.label >= len(classes):
            known = ", ".join(f"{i} {name}" for i, name in enumerate(classes))
            raise InputError(f"{record.source}: unknown label {record.label}; known: {known}")
    return records


def _csv_rows(path: Path, root: Path | None) -> list[tuple[str, ClipRecord]]:
    path = Path(path)
    base = path.parent if root is None else root
    rows = []
    for number, (source, fields) in enumerate(read_csv_rows(path)):
        if number == 0 and [name.lower() for name in fields[:2]] == ["path", "label"]:
            continue
        if len(fields) not in (2, 4) or not fields[0] or not fields[1]:
            raise InputError(f"{source}: expected {_CSV_FORM}, got '{','.join(fields)}'")
        start, end = (_seconds(x, source) for x in fields[2:]) if fields[2:] else (None, None)
        if start is not None and end is not None and start >= end:
            raise InputError(f"{source}: start {start} s is not before end {end} s")
        clip = base / fields[0].replace("\\", "/")
        rows.append((composed(fields[1]), ClipRecord(clip, 0, None, source, start, end)))
    return rows


def _seconds(text: str, source: str) -> float | None:
    if not text:
        return None
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < float("inf"):
        raise InputError(f"{source}: expected a time in seconds, got '{text}'")
    return seconds
