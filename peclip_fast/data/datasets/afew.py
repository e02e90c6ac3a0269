"""AFEW: 7 expressions, clips as frame folders or as the original AVI files.

    {Train,Val}_AFEW/<Emotion>/<id>.avi    (as distributed; or train and val)
    {Train,Val}_AFEW/<Emotion>/<id>/*.jpg
    {Train,Val}_AFEW/AlignedFaces_LBPTOP_Points/...    (features and faces, which are passed over)

The labels of the test set were never published, so ``val`` is the test split, as in the field.
"""

from __future__ import annotations

import re
from pathlib import Path

from peclip_fast.config.data import DataConfig
from peclip_fast.data.datasets.folder import TEST_NAMES, TRAIN_NAMES, class_folders, read_split
from peclip_fast.data.datasets.layout import first_existing, require_fold, require_root, warn_counts
from peclip_fast.data.media import PassedOver
from peclip_fast.data.names import SEVEN_EXPRESSIONS
from peclip_fast.data.records import DatasetSplits
from peclip_fast.registry import register_dataset

CLASSES = tuple(sorted(SEVEN_EXPRESSIONS))  # the order of the lists that are passed around

_TRAIN_CLIPS = 773
_VAL_CLIPS = 383
_TRAIN_NAMES = ["Train_AFEW", "AFEW_train", *TRAIN_NAMES]
# The public test set has no labels, so val comes before any folder named test.
_VAL_NAMES = ["Val_AFEW", "AFEW_val", *sorted(TEST_NAMES, key=lambda name: "val" not in name)]
_FEATURES = re.compile(r"aligned_?faces|lbp_?top|points|^faces$", re.IGNORECASE)


@register_dataset("afew", classes=CLASSES, licence="academic research only, on a signed agreement")
def read(config: DataConfig) -> DatasetSplits:
    """AFEW's training and validation sets."""
    require_fold(config, 1)
    root = require_root(config, "Train_AFEW/<emotion>/<clip> and Val_AFEW/<emotion>/<clip>")
    passed: list[PassedOver] = []
    train, test = (
        read_split(_emotions(_split(root, names, what), passed), CLASSES, passed, exact=False)
        for names, what in ((_TRAIN_NAMES, "training split"), (_VAL_NAMES, "validation split"))
    )
    warn_counts("afew train", train, CLASSES, _TRAIN_CLIPS)
    warn_counts("afew val", test, CLASSES, _VAL_CLIPS)
    return DatasetSplits("afew", CLASSES, train, test, passed)


def _split(root: Path, names: list[str], what: str) -> Path:
    """A split's folder; unpacking a zip into a folder of its name puts one into the other."""
    split = first_existing(root, names, what)
    inner = split / split.name
    return inner if inner.is_dir() else split


def _emotions(split: Path, passed: list[PassedOver]) -> list[Path]:
    folders = class_folders(split, passed)
    features = [folder for folder in folders if _FEATURES.search(folder.name)]
    passed += [PassedOver(folder, "features, not clips") for folder in features]
    return [folder for folder in folders if folder not in features]
