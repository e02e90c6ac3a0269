"""RAVDESS: 8 expressions by 24 actors.

    [<any>/]Actor_NN/MM-VV-EE-II-SS-RR-AA.mp4

MM modality (01 with sound, 02 video only), VV speech or song, EE emotion, II intensity,
SS statement, RR repetition, AA actor. A take that is there with and without sound is read once.
Folds keep actors apart: fold f tests actors 4f - 3 to 4f.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from peclip_fast.config.data import DataConfig
from peclip_fast.data.datasets.layout import require_fold, require_root, warn_counts
from peclip_fast.data.media import PassedOver, list_clips, natural_key, subfolders
from peclip_fast.data.records import ClipRecord, DatasetSplits
from peclip_fast.errors import InputError
from peclip_fast.registry import register_dataset

# In the order of the emotion numbers 01 to 08.
CLASSES = (
    "neutral",
    "calm",
    "happiness",
    "sadness",
    "anger",
    "fear",
    "disgust",
    "surprise",
)

_SPEECH_CLIPS = 1_440
_FOLDS = 6
_ACTORS_PER_FOLD = 4
_ACTOR = re.compile(r"Actor_\d+", re.IGNORECASE)
_NAME = re.compile(r"(\d\d)-((?:\d\d-){5}(\d\d))")


@register_dataset("ravdess", classes=CLASSES, licence="CC BY-NC-SA 4.0")
def read(config: DataConfig) -> DatasetSplits:
    """One actor-disjoint fold of RAVDESS."""
    fold = require_fold(config, _FOLDS)
    root = require_root(config, "Actor_01 to Actor_24")
    passed: list[PassedOver] = []
    actors = _actors(root, passed, set())
    paths = [path for folder in actors for path in list_clips(folder, passed, needed=False)]
    takes: dict[str, tuple[int, ClipRecord]] = {}
    for path in sorted(paths, key=lambda p: natural_key(p.name)):
        fields = _NAME.fullmatch(path.name if path.is_dir() else path.stem)
        if not fields:
            raise InputError(
                f"{path}: expected a name such as 01-01-03-01-02-01-12.mp4 (seven numbers)"
            )
        _, take, actor = fields.groups()
        emotion = int(take.split("-")[1])
        if not 1 <= emotion <= len(CLASSES):
            raise InputError(
                f"{path}: unknown emotion {emotion:02d}; expected 01 ({CLASSES[0]}) to "
                f"{len(CLASSES):02d} ({CLASSES[-1]})"
            )
        record = ClipRecord(path, emotion - 1, None, str(path))
        if takes.setdefault(take, (int(actor), record))[1] is not record:
            passed.append(PassedOver(path, "another file of a take"))
    tested = range(_ACTORS_PER_FOLD * (fold - 1) + 1, _ACTORS_PER_FOLD * fold + 1)
    warn_counts("ravdess (speech)", [r for _, r in takes.values()], CLASSES, _SPEECH_CLIPS)
    return DatasetSplits(
        "ravdess",
        CLASSES,
        [record for actor, record in takes.values() if actor not in tested],
        [record for actor, record in takes.values() if actor in tested],
        passed,
    )


def _actors(folder: Path, passed: list[PassedOver], seen: set[str]) -> list[Path]:
    """The folders of actors at any depth, as each zip may be unpacked into a folder of its own."""
    found = []
    for path in subfolders(folder, passed):
        if os.path.realpath(path) not in seen:  # by links, it may be met again
            seen.add(os.path.realpath(path))
            actor = _ACTOR.fullmatch(path.name)
            found += [path] if actor else _actors(path, passed, seen)
    return found
