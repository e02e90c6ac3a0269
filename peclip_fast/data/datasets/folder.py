"""Class folders: ``<split>/<class>/<video file or folder of frames>``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from peclip_fast.config.data import DataConfig
from peclip_fast.data.datasets.layout import (
    first_existing,
    list_clips,
    natural_key,
    require_fold,
    require_root,
)
from peclip_fast.data.names import composed, label_of
from peclip_fast.data.records import ClipRecord, DatasetSplits
from peclip_fast.errors import InputError
from peclip_fast.registry import register_dataset

TRAIN_NAMES = ["train", "Train", "training"]
TEST_NAMES = ["test", "Test", "val", "Val", "valid", "validation"]


@register_dataset("folder")
def read(config: DataConfig) -> DatasetSplits:
    """Any class folders; the classes are ``data.classes`` or the folders' names in order."""
    return read_folders(config, natural_key)


def read_folders(config: DataConfig, order: Callable[[str], Any]) -> DatasetSplits:
    """Class folders; where ``data.classes`` names no classes, they come in the order of a key."""
    require_fold(config, 1)
    root = require_root(config, "train/<class>/<clip> and test/<class>/<clip>")
    train = first_existing(root, TRAIN_NAMES, "training split")
    test = first_existing(root, TEST_NAMES, "test split")
    found = {composed(folder.name) for split in (train, test) for folder in _class_folders(split)}
    classes = tuple(config.classes or sorted(found, key=order))
    return DatasetSplits(
        config.dataset,
        classes,
        read_split(train, classes, exact=True),
        read_split(test, classes, exact=True),
    )


def read_split(split: Path, classes: Sequence[str], *, exact: bool) -> list[ClipRecord]:
    """The clips of one split; a class without a folder has no clips.

    Args:
        split: folder of class folders.
        classes: class names that the labels index.
        exact: folders are named as the classes are, not in one of their known spellings.
    """
    records = []
    for folder in _class_folders(split):
        label = label_of(composed(folder.name), classes, str(folder), exact=exact)
        records += [ClipRecord(clip, label, None, str(folder)) for clip in list_clips(folder)]
    return records


def _class_folders(split: Path) -> list[Path]:
    folders = [p for p in split.iterdir() if p.is_dir() and not p.name.startswith(".")]
    if not folders:
        raise InputError(f"{split}: empty folder: expected one folder per class")
    return sorted(folders, key=lambda p: natural_key(p.name))
