"""What `peclip-fast analyze` finds in one video: the rows of its tables, as types.

Times are presentation times in seconds by the file's own clock, as ffprobe gives them. Frames are
counted from 0 in the order in which they are shown. Probabilities stand in the order of
`Analysis.classes`.
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from peclip_fast.faces.box import Box

Probabilities = tuple[float, ...]


@dataclass(frozen=True)
class FaceRow:
    """One face in one frame, a row of frames.csv; a frame without a face has one row with no box.

    A track that is hidden for a few frames has rows without a box between its first and last frame.
    `probabilities` is the mean over the track's windows that hold the frame, or None without one.
    `prediction` is the class that the person shows there; None where nobody has said more than the
    probabilities, whose largest is it then (`prediction_of`).
    """

    frame: int
    timestamp: float
    track: int | None = None
    box: Box | None = None
    score: float | None = None
    probabilities: Probabilities | None = None
    prediction: str | None = None

    @property
    def success(self) -> bool:
        """Whether a face was found here."""
        return self.box is not None


@dataclass(frozen=True)
class WindowRow:
    """One window of one track, a row of windows.csv; `end` is when its last frame is shown."""

    track: int
    start: float
    end: float
    first_frame: int
    last_frame: int
    probabilities: Probabilities


@dataclass(frozen=True)
class TrackRow:
    """One person from entering to leaving, a row of tracks.csv.

    `frames` counts those with a box; `probabilities` is the mean over the track's windows, or None
    where it was too short for one.
    """

    track: int
    start: float
    end: float
    first_frame: int
    last_frame: int
    frames: int
    windows: int
    probabilities: Probabilities | None = None


@dataclass(frozen=True)
class Analysis:
    """All that was found in one video; `about` is run.json (model, detector, versions).

    `frames` may be a list, or a file whose rows are read anew each time that they are asked for.
    """

    source: str
    classes: tuple[str, ...]
    frames: Collection[FaceRow]
    windows: list[WindowRow]
    tracks: list[TrackRow]
    cuts: tuple[float, ...]  # when a new scene begins
    speech: tuple[tuple[float, float], ...] | None  # from, to; None if it wasn't asked for
    about: dict[str, Any]


def prediction_of(classes: tuple[str, ...], row: FaceRow) -> str | None:
    """What the person of a row shows; None without probabilities."""
    if row.probabilities is None:
        return None
    return row.prediction or top_class(classes, row.probabilities)


def top_class(classes: tuple[str, ...], probabilities: Probabilities | None) -> str | None:
    """The most probable class, the first of equals; None without probabilities."""
    if probabilities is None:
        return None
    return classes[max(range(len(classes)), key=lambda i: probabilities[i])]
