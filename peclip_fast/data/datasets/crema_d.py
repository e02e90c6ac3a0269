"""CREMA-D: 6 expressions spoken by 91 actors.

    [VideoFlash/]<actor>_<sentence>_<ANG|DIS|FEA|HAP|NEU|SAD>_<LO|MD|HI|XX>.flv

No folds were published. Ours keep actors apart: with the actors' numbers sorted, the i-th actor
(from 0) is tested in fold ``i % 5 + 1``.
"""

from __future__ import annotations

import re

from peclip_fast.config.data import DataConfig
from peclip_fast.data.datasets.layout import first_existing, require_fold, require_root, warn_counts
from peclip_fast.data.media import VIDEO_SUFFIXES, PassedOver, list_clips
from peclip_fast.data.names import SEVEN_EXPRESSIONS, label_of
from peclip_fast.data.records import ClipRecord, DatasetSplits
from peclip_fast.errors import InputError
from peclip_fast.registry import register_dataset

CLASSES = tuple(name for name in SEVEN_EXPRESSIONS if name != "surprise")

_CLIPS = 7_442
_FOLDS = 5
_NAME = re.compile(r"(\d{4})_[A-Z]{3}_([A-Z]{3})_(?:LO|MD|HI|XX?)")


@register_dataset("crema-d", classes=CLASSES, licence="Open Database License (ODbL) 1.0")
def read(config: DataConfig) -> DatasetSplits:
    """One actor-disjoint fold of CREMA-D."""
    fold = require_fold(config, _FOLDS)
    root = require_root(config, "the .flv files or VideoFlash")
    folder = first_existing(root, ["VideoFlash", ""], "clips")
    clips: list[tuple[int, ClipRecord]] = []
    passed: list[PassedOver] = []
    for path in list_clips(folder, passed):
        video = path.suffix.lower() in VIDEO_SUFFIXES
        fields = _NAME.fullmatch(path.stem if video else path.name)
        if not fields and not video:  # frame folders may be clips; others are AudioWAV and the like
            passed.append(PassedOver(path, "not named as a clip"))
            continue
        if not fields:
            raise InputError(
                f"{path}: expected a name such as 1001_DFA_ANG_XX.flv "
                "(actor, sentence, emotion, level)"
            )
        label = label_of(fields[2], CLASSES, str(path))
        clips.append((int(fields[1]), ClipRecord(path, label, None, str(path))))
    if not clips:
        raise InputError(f"{folder}: no clips: expected names such as 1001_DFA_ANG_XX.flv")
    actors = sorted({actor for actor, _ in clips})
    tested = set(actors[fold - 1 :: _FOLDS])
    warn_counts("crema-d", [record for _, record in clips], CLASSES, _CLIPS)
    return DatasetSplits(
        "crema-d",
        CLASSES,
        [record for actor, record in clips if actor not in tested],
        [record for actor, record in clips if actor in tested],
        passed,
    )
