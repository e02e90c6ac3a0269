"""What is looked for in each frame on its own: faces, and whether a new scene has begun."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from peclip_fast.analyze.pipeline.sources import TimedFrame
from peclip_fast.faces.finder import FaceFinder, SeenFace
from peclip_fast.faces.geometry import Frame

_THUMB = (32, 18)  # width and height
_CHANGED = 24  # grey levels by which a cell must differ to count as changed
_SHARE = 0.5  # of the cells that change at a cut
_TIMES = 3.0  # as many as usual, too
_USUAL = 12  # frames that say what is usual

Thumb = NDArray[np.int16]


class LookedAt(NamedTuple):
    """A frame and what is in it."""

    frame: TimedFrame
    faces: list[SeenFace]
    thumb: Thumb


def thumbnail(image: Frame) -> Thumb:
    """A frame (H, W, 3) as (18, 32, 3)."""
    small = Image.fromarray(image).resize(_THUMB, Image.Resampling.BOX, reducing_gap=1.0)
    return np.asarray(small).astype(np.int16)


def look(finder: FaceFinder, frame: TimedFrame) -> LookedAt:
    """Everything about one frame that needs no other."""
    return LookedAt(frame, finder.find(frame.image), thumbnail(frame.image))


def look_ahead(
    frames: Iterable[TimedFrame], finder: FaceFinder, threads: int | None = None
) -> Iterator[LookedAt]:
    """``look`` at each frame, in order; few frames are in memory at a time.

    Args:
        frames: of a video.
        finder: of faces.
        threads: that look; 0 is the caller's own, and None as many as there are cores.
    """
    if threads == 0:
        yield from (look(finder, frame) for frame in frames)
        return
    threads = threads or len(os.sched_getaffinity(0))
    waiting: deque[Future[LookedAt]] = deque()
    pool = ThreadPoolExecutor(threads, thread_name_prefix="faces")
    try:
        for frame in frames:
            waiting.append(pool.submit(look, finder, frame))
            if len(waiting) > threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


class CutFinder:
    """Says of each frame whether it begins a new scene: most of the picture is another."""

    def __init__(self) -> None:
        self._last: Thumb | None = None
        self._usual: deque[float] = deque(maxlen=_USUAL)

    def is_cut(self, thumb: Thumb) -> bool:
        """Of the next frame's thumbnail."""
        last, self._last = self._last, thumb
        if last is None or last.shape != thumb.shape:
            return False
        changed = float((np.abs(thumb - last).max(2) > _CHANGED).mean())
        usual = float(np.median(self._usual)) if self._usual else 0.0
        self._usual.append(changed)
        if changed > max(_SHARE, _TIMES * usual):
            self._usual.clear()
            return True
        return False
