"""DFEW: 7 expressions, 5 folds, clips as frame folders or as the original mp4 files.

Clip/clip_224x224/<NNNNN>/<NNNNN>_<frame>.jpg    (some copies <frame>.jpg)
Clip/original/<NNNNN>.mp4
EmoLabel_DataSplit/{train,test}(single_labeled)/set_{1..5}.csv    (or single-labeled)
"""

from __future__ import annotations

from pathlib import Path

from peclip_fast.config.data import DataConfig
from peclip_fast.data.datasets.layout import first_existing, require_fold, require_root, warn_counts
from peclip_fast.data.names import SEVEN_EXPRESSIONS
from peclip_fast.data.records import ClipRecord, DatasetSplits
from peclip_fast.errors import InputError
from peclip_fast.registry import register_dataset
from peclip_fast.text_files import read_csv_rows, shown, whole_number

CLASSES = SEVEN_EXPRESSIONS  # the CSV's labels 1 to 7, in this order
CLIPS = ["Clip/clip_224x224", "Clip/original", "Clip/clip_224x224_16f"]

_SPELLINGS = ["(single_labeled)", "(single-labeled)", " (single_labeled)", " (single-labeled)"]
_SINGLE_LABELLED = 11_697
_TEST_CLIPS = (2341, 2341, 2340, 2339, 2336)
_FOLD_1_TEST_PER_CLASS = (489, 379, 534, 435, 294, 29, 181)


@register_dataset("dfew", classes=CLASSES, licence="academic research only, on a signed agreement")
def read(config: DataConfig) -> DatasetSplits:
    """One fold of DFEW."""
    fold = require_fold(config, len(_TEST_CLIPS))
    root = require_root(config, "Clip and EmoLabel_DataSplit")
    clips = first_existing(root, CLIPS, "clips")
    labels = first_existing(root, ["EmoLabel_DataSplit"], "labels")
    train = _read_split(labels, "train", fold, clips)
    test = _read_split(labels, "test", fold, clips)
    warn_counts("dfew, all single-labelled clips", train + test, CLASSES, _SINGLE_LABELLED)
    published = _FOLD_1_TEST_PER_CLASS if fold == 1 else _TEST_CLIPS[fold - 1]
    warn_counts(f"dfew fold {fold} test", test, CLASSES, published)
    return DatasetSplits("dfew", CLASSES, train, test)


def _read_split(labels: Path, split: str, fold: int, clips: Path) -> list[ClipRecord]:
    folder = first_existing(
        labels, [f"{split}{spelling}" for spelling in _SPELLINGS], f"{split} split"
    )
    path = first_existing(folder, [f"set_{fold}.csv"], f"fold {fold}")
    suffix = ".mp4" if clips.name == "original" else ""
    records = []
    for source, row in read_csv_rows(path):
        if [name.lower() for name in row] == ["video_name", "label"]:
            continue
        label = whole_number(row[1]) if len(row) == 2 and row[0] else None
        if label is None:
            raise InputError(f"{source}: expected 'video_name,label', got {shown(','.join(row))}")
        if not 1 <= label <= len(CLASSES):
            raise InputError(
                f"{source}: unknown label {label}; expected 1 ({CLASSES[0]}) to "
                f"{len(CLASSES)} ({CLASSES[-1]})"
            )
        name = row[0].removesuffix(".mp4").zfill(5)
        records.append(ClipRecord(clips / f"{name}{suffix}", label - 1, None, source))
    return records
