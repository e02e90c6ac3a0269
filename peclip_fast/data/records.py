"""The records that pass from the dataset readers to the loader."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from peclip_fast.data.media import PassedOver


@dataclass(frozen=True, slots=True)
class ClipRecord:
    """One clip: where it is and what it shows.

    Args:
        path: folder of frame images, or a video file.
        label: index into the class names (in ``read_list``: the number in the file).
        num_frames: frames the clip must have, or None where the source doesn't say.
        source: ``file:line`` (or folder) that named the clip, for error messages.
        start: first moment of the clip in seconds; None is the start of the file.
        end: end of the clip in seconds, exclusive; None is the end of the file.
        cues: file with the landmarks and regions of its frames, where there is one.
        description: what moves in the face, in words, where somebody wrote it.
    """

    path: Path
    label: int
    num_frames: int | None = None
    source: str = ""
    start: float | None = None
    end: float | None = None
    cues: Path | None = None
    description: str | None = None


@dataclass(frozen=True)
class DatasetSplits:
    """The clips of one dataset (and fold); labels index ``classes``.

    Args:
        name: of the dataset.
        classes: names of the labels.
        train: the training clips.
        test: the test clips.
        passed_over: what lies among the clips and is none.
        remarks: what else a user should know of the files that were read.
    """

    name: str
    classes: tuple[str, ...]
    train: list[ClipRecord]
    test: list[ClipRecord]
    passed_over: Sequence[PassedOver] = ()
    remarks: Sequence[str] = ()
