"""Windows that slide over a track, and the crops of its face that they hold."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch

from peclip_fast.data.cues.images import IMAGES, cue_images
from peclip_fast.data.cues.store import Cues
from peclip_fast.data.transforms.augment import (
    apply_transform,
    centre_transform,
    move_points,
)
from peclip_fast.errors import InputError
from peclip_fast.faces.crop import CropProfile, SteadyPlaces, cut, outside
from peclip_fast.faces.finder import FacePlace, SeenFace
from peclip_fast.faces.geometry import Array, Frame
from peclip_fast.faces.track import Track

_SHORT = 0.25  # of a window: a track that is shorter says nothing
_ENOUGH = 0.5  # of a window's frames must show the face
_MICROSECOND = 1e-6


@dataclass(frozen=True)
class WindowOptions:
    """How windows slide.

    Args:
        seconds: length of a window.
        stride: from the start of one to the next, in seconds.
        every: frames are looked at so many apart.
    """

    seconds: float
    stride: float
    every: int = 1

    def __post_init__(self) -> None:
        for name in ("seconds", "stride"):
            if not 0 < getattr(self, name) < float("inf"):
                raise InputError(f"window {name}: expected more than 0")


@dataclass(frozen=True)
class Taken:
    """How a model takes a window: what ``ClipDataset`` does to a clip in testing.

    Args:
        draw: which of so many frames it sees.
        image_size: side of its images.
        inputs: what it sees: frames, parsing, landmarks.
        profile: how its training clips show a face; None for the whole frame.
    """

    draw: Callable[[int], list[int]]
    image_size: int
    inputs: tuple[str, ...]
    profile: CropProfile | None


@dataclass(frozen=True, eq=False)
class Window:
    """One window of one track, ready for the model but for its batch.

    Args:
        track: whose.
        first_frame: number of its first frame.
        last_frame: number of its last frame.
        start: when the first is shown, in seconds.
        end: when the last is shown.
        given: what the model sees, uint8 (T, 3, side, side) each, by name.
    """

    track: Track
    first_frame: int
    last_frame: int
    start: float
    end: float
    given: dict[str, torch.Tensor]


@dataclass(frozen=True)
class _Crop:
    number: int
    time: float
    image: Frame
    points: Array  # in pixels of the image


class TrackWindows:
    """The windows of one track. Of its crops those of the last window are in memory."""

    def __init__(self, track: Track, options: WindowOptions, taken: Taken) -> None:
        self.track = track
        self._options, self._taken = options, taken
        self._crops: deque[_Crop] = deque()
        self._places = SteadyPlaces()
        self._start: float | None = None  # of the next window
        self._covered = -float("inf")  # end of the last one
        self.outside: list[float] = []  # what share of a crop lay outside of the frame

    def add(self, number: int, time: float, image: Frame, seen: SeenFace) -> Iterator[Window]:
        """Take the face of a frame; gives the windows that are over by now."""
        self._start = time if self._start is None else self._start
        yield from self._over(time)
        side, profile = self._taken.image_size, self._taken.profile
        if profile is None:
            self._crops.append(_Crop(number, time, *_whole(image, seen.points, side)))
            return
        where = profile.rectangle(self._places.next(time, FacePlace.of(seen.points)))
        if len(self.outside) < 1000:
            self.outside.append(outside(where, *image.shape[:2]))
        points = where.from_frame(seen.points) * side
        self._crops.append(_Crop(number, time, cut(image, where, side), points))

    def end(self) -> Iterator[Window]:
        """The track is over: the window of its end, where there is something new in it."""
        if not self._crops or self.track.person is None:
            return
        yield from self._over(self._crops[-1].time)
        first, last = self._crops[0].time, self._crops[-1].time
        if last <= self._covered + _MICROSECOND:
            return
        lasts = last - first + (last - first) / max(1, len(self._crops) - 1)
        if self._covered < first and lasts < _SHORT * self._options.seconds:
            return
        after = last - self._options.seconds + _MICROSECOND
        yield from self._window([crop for crop in self._crops if crop.time > after])

    def _over(self, time: float) -> Iterator[Window]:
        """The windows that end before a moment, once it is clear whose they are."""
        seconds, stride = self._options.seconds, self._options.stride
        while (
            self.track.person is not None
            and self._start is not None
            and time >= self._start + seconds - _MICROSECOND
        ):
            begin, end = self._start - _MICROSECOND, self._start + seconds - _MICROSECOND
            yield from self._window([c for c in self._crops if begin <= c.time < end])
            self._start += stride
            keep = min(self._start, time - seconds) - _MICROSECOND
            while self._crops and self._crops[0].time < keep:
                self._crops.popleft()

    def _window(self, crops: list[_Crop]) -> Iterator[Window]:
        if not crops:
            return
        spanned = (crops[-1].number - crops[0].number) // self._options.every + 1
        if len(crops) < _ENOUGH * spanned:
            return
        self._covered = crops[-1].time
        drawn = [crops[index] for index in self._taken.draw(len(crops))]
        yield Window(
            self.track,
            crops[0].number,
            crops[-1].number,
            crops[0].time,
            crops[-1].time,
            self._given(drawn),
        )

    def _given(self, drawn: list[_Crop]) -> dict[str, torch.Tensor]:
        side = self._taken.image_size
        given: dict[str, torch.Tensor] = {}
        for name in self._taken.inputs:
            if name in IMAGES:
                cues = Cues(np.stack([crop.points for crop in drawn]), (side, side))
                whole = centre_transform(side, side)
                given[name] = cue_images(name, cues, (side, side), whole, side)
            else:
                images = torch.from_numpy(np.stack([crop.image for crop in drawn]))
                given[name] = images.permute(0, 3, 1, 2)
        return given


def _whole(image: Frame, points: Array, side: int) -> tuple[Frame, Array]:
    """A frame and points in it, as testing takes the frames of a clip."""
    height, width = image.shape[:2]
    taken = centre_transform(height, width)
    small = apply_transform(image[None], taken, side)[0].permute(1, 2, 0).numpy()
    return small, move_points(points, taken, height, width, side)
