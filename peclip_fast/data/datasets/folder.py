"""Class folders: ``<split>/<class>/<video file or folder of frames>``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from peclip_fast.config.data import DataConfig
from peclip_fast.config.names import composed
from peclip_fast.data.datasets.layout import first_existing, require_fold, require_root
from peclip_fast.data.media import PassedOver, entries, list_clips, natural_key, subfolders
from peclip_fast.data.names import label_of, one_spelling
from peclip_fast.data.records import ClipRecord, DatasetSplits
from peclip_fast.errors import InputError
from peclip_fast.registry import register_dataset

TRAIN_NAMES = ["train", "training"]
TEST_NAMES = ["test", "testing", "val", "valid", "validation"]


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
    passed = other_splits(root, train, test)
    folders = {split: class_folders(split, passed) for split in (train, test)}
    found = one_spelling((f.name, str(f)) for split in (train, test) for f in folders[split])
    classes = tuple(config.classes or sorted(found, key=order))
    records = [read_split(folders[s], classes, passed, exact=True) for s in (train, test)]
    return DatasetSplits(config.dataset, classes, records[0], records[1], passed)


def other_splits(root: Path, train: Path, test: Path) -> list[PassedOver]:
    """Folders that are named as splits are, and aren't read, such as val beside test."""
    return [
        PassedOver(root / name, f"not read, as {train.name} and {test.name} are there")
        for name, is_folder in entries(root).items()
        if is_folder and name.lower() in {*TRAIN_NAMES, *TEST_NAMES, "dev"}
        if root / name not in (train, test)
    ]


def class_folders(split: Path, passed: list[PassedOver]) -> list[Path]:
    """The folders of a split; ``passed`` gets what else is there.

    Raises:
        InputError: there are none.
    """
    folders = subfolders(split, passed)
    if not folders:
        raise InputError(f"{split}: empty folder: expected one folder per class")
    return folders


def read_split(
    folders: Sequence[Path], classes: Sequence[str], passed: list[PassedOver], *, exact: bool
) -> list[ClipRecord]:
    """The clips of one split; a class without a folder has no clips.

    Args:
        folders: of the classes.
        classes: class names that the labels index.
        passed: gets what lies among the clips and is none.
        exact: folders are named as the classes are, not in one of their known spellings.
    """
    records = []
    for folder in folders:
        label = label_of(composed(folder.name), classes, str(folder), exact=exact)
        records += [
            ClipRecord(clip, label, None, str(folder)) for clip in list_clips(folder, passed)
        ]
    return records
