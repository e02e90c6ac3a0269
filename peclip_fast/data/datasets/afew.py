"""AFEW: 7 expressions, clips as frame folders or as the original AVI files.

    {train,val}/<Emotion>/<id>/*.jpg   or   {train,val}/<Emotion>/<id>.avi

The labels of the test set were never published, so ``val`` is the test split, as in the field.
"""

from __future__ import annotations

from peclip_fast.config.data import DataConfig
from peclip_fast.data.datasets.folder import TEST_NAMES, TRAIN_NAMES, read_split
from peclip_fast.data.datasets.layout import first_existing, require_fold, require_root, warn_counts
from peclip_fast.data.names import SEVEN_EXPRESSIONS
from peclip_fast.data.records import DatasetSplits
from peclip_fast.registry import register_dataset

CLASSES = tuple(sorted(SEVEN_EXPRESSIONS))  # the order of the lists that are passed around

_TRAIN_CLIPS = 773
_VAL_CLIPS = 383


@register_dataset("afew", classes=CLASSES)
def read(config: DataConfig) -> DatasetSplits:
    """AFEW's training and validation sets."""
    require_fold(config, 1)
    root = require_root(config, "train/<emotion>/<clip> and val/<emotion>/<clip>")
    # The public test set has no labels, so val comes before any folder named test.
    test_names = sorted(TEST_NAMES, key=lambda name: "val" not in name.lower())
    train, test = (
        read_split(first_existing(root, names, what), CLASSES, exact=False)
        for names, what in ((TRAIN_NAMES, "training split"), (test_names, "validation split"))
    )
    warn_counts("afew train", train, CLASSES, _TRAIN_CLIPS)
    warn_counts("afew val", test, CLASSES, _VAL_CLIPS)
    return DatasetSplits("afew", CLASSES, train, test)
