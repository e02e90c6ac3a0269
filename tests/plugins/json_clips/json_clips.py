"""Clips listed in clips.json: {"a/01.mp4": {"label": "happy", "split": "train"}, ...}."""

from __future__ import annotations

import json

from peclip_fast import InputError, register_dataset
from peclip_fast.config.data import DataConfig
from peclip_fast.data.datasets.layout import require_fold, require_root
from peclip_fast.data.records import ClipRecord, DatasetSplits


@register_dataset("json-clips", title="Clips of a JSON file")
def read(config: DataConfig) -> DatasetSplits:
    """The clips under data.root that its clips.json lists.

    Paths are relative to data.root. The classes are data.classes, or all labels in their order.
    """
    require_fold(config, 1)
    root = require_root(config, "clips.json")
    file = root / "clips.json"
    try:
        entries = json.loads(file.read_text(encoding="utf-8"))
        rows = [(path, entry["label"], entry["split"]) for path, entry in entries.items()]
    except FileNotFoundError:
        raise InputError(f"{file}: no such file") from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f'{file}: expected "path": {{"label": ..., "split": ...}}') from error

    classes = tuple(config.classes or sorted({label for _, label, _ in rows}))
    splits: dict[str, list[ClipRecord]] = {"train": [], "test": []}
    for path, label, split in rows:
        if split not in splits:
            raise InputError(f"{file}: {path}: split {split!r}, expected train or test")
        if label not in classes:
            raise InputError(f"{file}: {path}: label {label!r}, expected {', '.join(classes)}")
        record = ClipRecord(root / path, classes.index(label), source=str(file))
        splits[split].append(record)
    return DatasetSplits(config.dataset, classes, **splits)
