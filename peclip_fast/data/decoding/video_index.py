"""Where the frames of a video file are: what a pass over it has told."""

from __future__ import annotations

import bisect
from collections.abc import Collection
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from pathlib import Path

from peclip_fast.data.decoding.geometry import Geometry
from peclip_fast.errors import InputError

_MICROSECOND = 1e-6  # to which FFmpeg rounds moments


@dataclass(frozen=True)
class VideoIndex:
    """What a pass over a video tells.

    A frame is known by its packet's position: how many packets stand before it in the file.

    Args:
        codec: FFmpeg's name of the codec, such as ``h264``.
        geometry: of the frames.
        time_unit: seconds per unit of ``times``; None where the file tells neither times nor a
            frame rate.
        times: moment of every frame, ascending.
        zero: the moment from which players count, where the first of the file's streams begins.
        positions: of every frame's packet, in the order in which frames are shown.
        first_packet: for each group of pictures (a key frame and what builds on it), the position
            of its first packet, ascending.
        open_groups: groups with frames that are shown before their key frame and so need the
            group before them too.
        timed: the order is that of the packets' own times, which are distinct; otherwise the
            decoder has told it.
        skips: the decoder can pass over a frame of which no other is made.
        packets: of the file, those included that no frame is shown of.
    """

    codec: str
    geometry: Geometry
    time_unit: Fraction | None
    times: tuple[int, ...]
    zero: int
    positions: tuple[int, ...]
    first_packet: tuple[int, ...]
    open_groups: frozenset[int]
    timed: bool
    skips: bool
    packets: int

    @property
    def height(self) -> int:
        """Of the frames as they are shown, in pixels."""
        return self.geometry.height

    @property
    def width(self) -> int:
        """Of the frames as they are shown, in pixels."""
        return self.geometry.width

    @property
    def num_frames(self) -> int:
        """Frames of the whole file."""
        return len(self.positions)

    @cached_property
    def numbers(self) -> dict[int, int]:
        """Which frame is whose packet's: position to number."""
        return {position: number for number, position in enumerate(self.positions)}

    def seconds(self) -> list[float] | None:
        """Time of each frame as players count it; None where the file tells no times.

        The first frame's isn't 0 where sound begins before it.
        """
        if self.time_unit is None:
            return None
        return [float((time - self.zero) * self.time_unit) for time in self.times]

    def part(self, path: Path, start: float | None, end: float | None) -> range:
        """The frames from ``start`` to before ``end``, in seconds; None is the file's own.

        Raises:
            InputError: there are none, or the file tells no times; names it.
        """
        if start is None and end is None:
            return range(self.num_frames)
        seconds = self.seconds()
        if seconds is None:
            raise InputError(f"{path}: has no times and no frame rate: start and end fail")
        first, last = 0, len(seconds)
        if start is not None:
            first = bisect.bisect_left(seconds, start - _MICROSECOND)
        if end is not None:
            last = bisect.bisect_left(seconds, end - _MICROSECOND)
        if first >= last:
            raise InputError(
                f"{path}: no frames from {start or 0:g} s to "
                f"{'the end' if end is None else f'{end:g} s'}; the video's frames are at "
                f"{seconds[0]:g} to {seconds[-1]:g} s"
            )
        return range(first, last)

    def group(self, frame: int) -> int:
        """Which group of pictures holds a frame's packet."""
        return max(0, bisect.bisect_right(self.first_packet, self.positions[frame]) - 1)

    def needed_groups(self, frames: Collection[int]) -> set[int]:
        """The groups to decode for some frames."""
        needed = {self.group(frame) for frame in frames}
        return needed | {group - 1 for group in needed & self.open_groups if group > 0}
