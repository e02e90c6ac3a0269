"""Splits given as list files or as CSV files ``path,label[,start,end]``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from peclip_fast.config.data import DataConfig
from peclip_fast.config.names import composed
from peclip_fast.data.datasets.csv_files import read_clip_rows
from peclip_fast.data.datasets.lists import read_list
from peclip_fast.data.media import natural_key
from peclip_fast.data.names import label_of, one_spelling
from peclip_fast.data.records import ClipRecord, DatasetSplits
from peclip_fast.errors import InputError
from peclip_fast.registry import register_dataset


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
    A header may name the columns; see ``csv_files``.
    """
    root = _root(config)
    remarks: list[str] = []
    rows = [
        [] if path is None else read_clip_rows(path, path.parent if root is None else root, remarks)
        for path in _files(config)
    ]
    found = one_spelling((name, record.source) for split in rows for name, record in split)
    classes = tuple(config.classes or sorted(found, key=natural_key))
    train, test = (
        [
            replace(r, label=label_of(composed(name), classes, r.source, exact=True))
            for name, r in split
        ]
        for split in rows
    )
    return DatasetSplits(config.dataset, classes, train, test, remarks=remarks)


def _files(config: DataConfig) -> tuple[Path | None, Path | None]:
    if config.train_list is None and config.test_list is None:
        raise InputError(f"data.train_list, data.test_list: {config.dataset} needs one of them")
    return config.train_list, config.test_list


def _root(config: DataConfig) -> Path | None:
    if config.root is None:
        return None
    root = Path(config.root)
    if not root.is_dir():
        raise InputError(f"data.root: {root} is no folder; expected the one that holds the clips")
    return root


def _named_numbers(records: list[ClipRecord], classes: tuple[str, ...]) -> list[ClipRecord]:
    for record in records:
        if record.label >= len(classes):
            known = ", ".join(f"{i} {name}" for i, name in enumerate(classes))
            raise InputError(f"{record.source}: unknown label {record.label}; known: {known}")
    return records
