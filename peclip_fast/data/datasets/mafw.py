"""MAFW: 11 single expressions, or their compounds, in 5 folds.

    [Train & Test Set/]{single,compound}/{no_caption,with_caption}/set_{1..5}/{train,test}.txt
    [data/]{frames,clips}/<NNNNN>[.mp4]

``no_caption`` lines are ``00025.mp4 anger`` with CRLF; ``with_caption`` lines have four fields
separated by tabs, in GBK. Compound labels are joined by ``_``.
"""

from __future__ import annotations

from pathlib import Path

from peclip_fast.config.data import DataConfig
from peclip_fast.data.datasets.layout import first_existing, require_fold, require_root, warn_counts
from peclip_fast.data.names import label_of
from peclip_fast.data.records import ClipRecord, DatasetSplits
from peclip_fast.errors import InputError
from peclip_fast.registry import register_dataset
from peclip_fast.text_files import read_lines, shown

CLASSES = (
    "anger",
    "disgust",
    "fear",
    "happiness",
    "neutral",
    "sadness",
    "surprise",
    "contempt",
    "anxiety",
    "helplessness",
    "disappointment",
)

LICENCE = "non-commercial research only, on a signed agreement"

_SINGLE_CLIPS = 9_172
_FOLDS = 5
_CLIP_FOLDERS = ["data/frames", "frames", "data/clips", "clips"]

_Line = tuple[str, str, str]  # source, clip name, label


@register_dataset("mafw", classes=CLASSES, licence=LICENCE)
def read_single(config: DataConfig) -> DatasetSplits:
    """One fold of the 11 single expressions, in the paper's order."""
    fold, clips, train, test = _read_fold(config, "single")
    splits = _splits("mafw", CLASSES, clips, train, test)
    warn_counts(
        f"mafw fold {fold}, all single clips", splits.train + splits.test, CLASSES, _SINGLE_CLIPS
    )
    return splits


@register_dataset("mafw-compound", licence=LICENCE)
def read_compound(config: DataConfig) -> DatasetSplits:
    """One fold of the compound expressions.

    The classes are the labels that occur, by number of parts, then by the parts' order in the
    paper's list; the parts of a label keep the order in which the files join them.
    """
    _, clips, train, test = _read_fold(config, "compound")
    ranks = {
        label: [label_of(part, CLASSES, source) for part in label.split("_")]
        for source, _, label in train + test
    }
    classes = tuple(sorted(ranks, key=lambda label: (len(ranks[label]), ranks[label])))
    return _splits("mafw-compound", classes, clips, train, test)


def _read_fold(config: DataConfig, kind: str) -> tuple[int, Path, list[_Line], list[_Line]]:
    fold = require_fold(config, _FOLDS)
    root = require_root(config, f"the splits ({kind}) and data/frames or data/clips")
    clips = first_existing(root, _CLIP_FOLDERS, "clips")
    splits = first_existing(root, [f"Train & Test Set/{kind}", kind], "splits")
    folder = first_existing(
        splits, [f"no_caption/set_{fold}", f"with_caption/set_{fold}"], f"fold {fold}"
    )
    train, test = (
        _read_split(first_existing(folder, [f"{split}.txt"], f"{split} split"))
        for split in ("train", "test")
    )
    return fold, clips, train, test


def _read_split(path: Path) -> list[_Line]:
    captioned = path.parent.parent.name == "with_caption"
    lines = []
    for source, line in read_lines(path, "gb18030" if captioned else None):
        fields = [f.strip() for f in (line.split("\t") if captioned else line.split())]
        if len(fields) != (4 if captioned else 2):
            form = "<clip>.mp4 <label>"
            if captioned:
                form = "<clip>.mp4, label and two captions, separated by tabs"
            raise InputError(f"{source}: expected '{form}', got {shown(line)}")
        lines.append((source, fields[0], fields[1].lower()))
    return lines


def _splits(
    name: str, classes: tuple[str, ...], clips: Path, train: list[_Line], test: list[_Line]
) -> DatasetSplits:
    def record(line: _Line) -> ClipRecord:
        source, clip, label = line
        file = clip.removesuffix(".mp4") if clips.name == "frames" else clip
        return ClipRecord(clips / file, label_of(label, classes, source), None, source)

    return DatasetSplits(name, classes, [record(x) for x in train], [record(x) for x in test])
