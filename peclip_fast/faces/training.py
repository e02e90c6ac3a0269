"""The crop profile of training clips, measured on some of their frames."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

from peclip_fast.data.decoding.clip_source import locate_record, open_record
from peclip_fast.data.decoding.video_index import VideoIndex
from peclip_fast.data.records import ClipRecord
from peclip_fast.errors import InputError
from peclip_fast.faces.crop import USUAL, CropProfile
from peclip_fast.faces.finder import FaceFinder, FacePlace
from peclip_fast.faces.geometry import Frame

LOOKED_AT = 32  # clips, one frame each; the median is within 2 % of that of all of the demo's
_LEVEL = 0.05  # radians off the level that the eyes of aligned crops are at most, nearly always
_NEARLY = 0.9  # share of them


def measure(records: Sequence[ClipRecord], finder: FaceFinder) -> CropProfile | None:
    """How clips show faces, by the middle frames of some of them, which stand for all.

    Clips that can't be read are passed over.

    Returns:
        the medians; ``faces`` 0 and the usual crop where no frame shows a face; None where no clip
        could be read.
    """
    step = max(1, len(records) // LOOKED_AT)
    crops: list[CropProfile] = []
    rolls: list[float] = []
    seconds: list[float] = []
    frames = 0
    for record in records[::step][:LOOKED_AT]:
        try:
            frame = _middle(record)
            length = _seconds(record)
        except InputError:
            continue  # training has named it
        frames += 1
        seconds += [] if length is None else [length]
        seen = finder.find(frame)
        if seen:
            place = FacePlace.of(seen[0].points)
            crops.append(shown(frame, place))
            rolls.append(place.roll)
    if not frames:
        return None
    usual = median(seconds) if seconds else None
    origin = f"measured on {frames} training clips"
    if not crops:
        return CropProfile(USUAL.scale, USUAL.x, USUAL.y, False, usual, 0.0, origin)
    level = sum(abs(angle) < _LEVEL for angle in rolls) >= _NEARLY * len(rolls)
    scale, x, y = (median(getattr(crop, name) for crop in crops) for name in ("scale", "x", "y"))
    return CropProfile(scale, x, y, level, usual, len(crops) / frames, origin)


def shown(frame: Frame, place: FacePlace) -> CropProfile:
    """How the largest square in the middle of a frame (H, W, 3) shows a face."""
    height, width = frame.shape[:2]
    x, y = (width / 2 - place.x) / place.side, (height / 2 - place.y) / place.side
    return CropProfile(min(height, width) / place.side, x, y)


def _middle(record: ClipRecord) -> Frame:
    source = open_record(record)
    try:
        frame: Frame = source.read([source.num_frames // 2])[0]
    finally:
        source.close()
    return frame


def _seconds(record: ClipRecord) -> float | None:
    """How long a clip is; None where it has no times, as folders of frames."""
    index, frames = locate_record(record)
    times = index.seconds() if isinstance(index, VideoIndex) else None
    if not times:
        return None
    length = times[frames[-1]] - times[frames[0]]
    return length * len(frames) / max(1, len(frames) - 1)
