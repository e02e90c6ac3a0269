"""What is known of the face in one clip."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from peclip_fast.data.cues.regions import POINTS
from peclip_fast.data.cues.store import Cues
from peclip_fast.faces.geometry import Array, box, overlap
from peclip_fast.faces.landmarks import LandmarkModel, around
from peclip_fast.prepare.cues.parsing import ParsingModel

_LOOK = 10  # frames from one search for a larger face to the next
_STEADY = 0.6  # of the union of their boxes is shared by landmarks of one face in two frames


def clip_cues(
    frames: Iterable[NDArray[np.uint8]], model: LandmarkModel, parsing: ParsingModel | None
) -> Cues:
    """The cues of all frames; one without a face has those of the nearest frame with one.

    Args:
        frames: uint8 RGB (H, W, 3), of one size; at least one.
        model: finds the landmarks.
        parsing: finds the regions; None leaves them to the landmarks.
    """
    points: list[Array] = []
    maps: list[NDArray[np.uint8]] = []
    found: list[bool] = []
    for number, frame in enumerate(frames):
        size = frame.shape[0], frame.shape[1]
        face = followed(frame, model, points[-1] if points else None, number % _LOOK == 0)
        found.append(face is not None)
        if face is not None:
            points.append(face)
            if parsing is not None:
                maps.append(parsing.regions(frame, face))
    seen = np.array(found)
    if not points:
        return Cues(np.full((len(found), POINTS, 2), np.nan), size, None, seen)
    nearest = nearest_seen(seen)
    return Cues(np.stack(points)[nearest], size, np.stack(maps)[nearest] if maps else None, seen)


def followed(
    frame: NDArray[np.uint8], model: LandmarkModel, before: Array | None, look: bool
) -> Array | None:
    """The landmarks (468, 2) of the face of a former frame, else of the largest; None without one.

    To look where the face was takes a fifth of the time that finding it does, and is as steady.

    Args:
        frame: uint8 RGB (H, W, 3).
        model: finds the landmarks.
        before: landmarks of a former frame, if any had a face.
        look: whether there is another face, twice as large, even if this one is still there.
    """
    face = None if before is None else model.measure(frame, around(before))
    # After a cut FaceMesh may take half a face, or something else, for the one that was there.
    steady = face is not None and before is not None and _same(face, before)
    if steady and not look:
        return face
    largest = model.landmarks(frame, before)
    if steady and face is not None and (largest is None or _same(face, largest)):
        return face
    return largest


def _same(one: Array, other: Array) -> bool:
    return overlap(box(one), box(other)) > _STEADY


def nearest_seen(found: NDArray[np.bool_]) -> NDArray[np.intp]:
    """For each frame (T,) the nearest where a face was found, as an index into those with a face.

    Of two as near it is the earlier.
    """
    seen = np.flatnonzero(found)
    between = np.interp(np.arange(len(found)), seen, np.arange(len(seen)))
    return np.ceil(between - 0.5).astype(np.intp)
