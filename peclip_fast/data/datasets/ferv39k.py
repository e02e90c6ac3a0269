"""FERV39k: 7 expressions in 22 scenes, one split into training and test.

2_ClipsforFaceCrop/<Scene>/<Emotion>/<NNNN>/*.jpg
4_setups/All_scenes/{train,test}_All.csv    lines such as ``Action/Happy/0015 Happy``
"""

from __future__ import annotations

from pathlib import Path

from peclip_fast.config.data import DataConfig
from peclip_fast.data.datasets.layout import first_existing, require_fold, require_root, warn_counts
from peclip_fast.data.names import SEVEN_EXPRESSIONS, label_of
from peclip_fast.data.records import ClipRecord, DatasetSplits
from peclip_fast.errors import InputError
from peclip_fast.registry import register_dataset
from peclip_fast.text_files import read_lines, shown

CLASSES = SEVEN_EXPRESSIONS

_TRAIN_CLIPS = 31_088
_TEST_PER_CLASS = (1473, 1393, 1958, 1487, 638, 467, 431)


@register_dataset(
    "ferv39k", classes=CLASSES, licence="academic research only, on a signed agreement"
)
def read(config: DataConfig) -> DatasetSplits:
    """FERV39k, all scenes."""
    require_fold(config, 1)
    root = require_root(config, "2_ClipsforFaceCrop and 4_setups")
    clips = first_existing(root, ["2_ClipsforFaceCrop"], "clips")
    setups = first_existing(root, ["4_setups/All_scenes"], "splits")
    train = _read_split(first_existing(setups, ["train_All.csv"], "training split"), clips)
    test = _read_split(first_existing(setups, ["test_All.csv"], "test split"), clips)
    warn_counts("ferv39k train", train, CLASSES, _TRAIN_CLIPS)
    warn_counts("ferv39k test", test, CLASSES, _TEST_PER_CLASS)
    return DatasetSplits("ferv39k", CLASSES, train, test)


def _read_split(path: Path, clips: Path) -> list[ClipRecord]:
    records = []
    for source, line in read_lines(path):
        fields = line.rsplit(None, 1)
        if len(fields) != 2:
            raise InputError(
                f"{source}: expected '<scene>/<emotion>/<clip> <emotion>', got {shown(line)}"
            )
        label = label_of(fields[1], CLASSES, source)
        records.append(
            ClipRecord(clips / fields[0].strip().replace("\\", "/"), label, None, source)
        )
    return records
