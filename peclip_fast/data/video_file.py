"""Clips stored as video files, decoded by FFmpeg through PyAV: every codec, on the CPU."""

from __future__ import annotations

import bisect
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from numpy.typing import NDArray

from peclip_fast.errors import InputError

# A container without a frame count is called truncated when its video ends this much too early.
_MISSING_SECONDS = 0.25


@dataclass(frozen=True)
class VideoIndex:
    """Where the frames of a video are, from one pass over its packets without decoding.

    Args:
        times: presentation time of every frame in stream units, ascending.
        first_packet: for each group of pictures, its first packet in file order.
        groups: for each frame, in presentation order, the group that holds its packet.
        open_groups: groups with frames that are shown before their key frame and so need the
            group before them too.
        timed: the times come from the file and are distinct, so that frames can be told apart
            by them; otherwise frames are counted as they are decoded.
    """

    times: tuple[int, ...]
    first_packet: tuple[int, ...]
    groups: tuple[int, ...]
    open_groups: frozenset[int]
    timed: bool

    def needed_groups(self, frames: Sequence[int]) -> set[int]:
        """The groups to decode for some frames."""
        if not self.timed:
            return set(range(self.groups[max(frames)] + 1))
        needed = {self.groups[frame] for frame in frames}
        return needed | {group - 1 for group in needed & self.open_groups if group > 0}


class VideoFile:
    """A video file, or the part of it from ``start`` to ``end`` seconds.

    Frames are numbered in the order in which they are shown. Groups of pictures (a key frame and
    what builds on it) that hold no wanted frame are passed over without decoding.

    Raises:
        InputError: the file is no video, is cut short, or has no frame (in the given part).
    """

    def __init__(
        self,
        path: Path,
        start: float | None = None,
        end: float | None = None,
        threads: int = 1,
    ) -> None:
        self._path = path
        try:
            self._container: InputContainer = av.open(str(path), mode="r")
        except (av.FFmpegError, OSError, ValueError) as error:
            raise InputError(f"{path}: not a readable video: {_reason(error)}") from None
        try:
            self._stream = self._video_stream()
            self._stream.codec_context.thread_count = threads
            self._index = self._build_index()
            self._frames = self._part(start, end)
        except BaseException:
            self._container.close()
            raise

    @property
    def num_frames(self) -> int:
        return len(self._frames)

    def read(self, indices: Sequence[int]) -> NDArray[np.uint8]:
        """Frames as uint8 RGB (T, H, W, 3), upright; an index that comes again is decoded once."""
        numbers = [self._frames[index] for index in indices]
        wanted = set(numbers)
        images: dict[int, NDArray[np.uint8]] = {}
        try:
            for number, frame in self._decode(sorted(wanted)):
                if frame.is_corrupt:
                    raise InputError(f"{self._path}: frame {number} is damaged")
                if number in wanted:
                    images[number] = _upright_rgb(frame)
                    if len(images) == len(wanted):
                        break
        except (av.FFmpegError, ValueError, MemoryError) as error:
            if isinstance(error, InputError):
                raise
            raise InputError(
                f"{self._path}: decoding failed after {len(images)} of {len(wanted)} wanted "
                f"frames: {_reason(error)}"
            ) from None
        if len(images) < len(wanted):
            missing = min(wanted - images.keys())
            raise InputError(
                f"{self._path}: cut short or damaged: frame {missing} of "
                f"{len(self._index.times)} can't be decoded"
            )
        first = images[numbers[0]]
        if any(image.shape != first.shape for image in images.values()):
            raise InputError(f"{self._path}: the frame size changes within the clip")
        return np.stack([images[number] for number in numbers])

    def close(self) -> None:
        """Closes the file."""
        self._container.close()

    def _video_stream(self) -> VideoStream:
        if not self._container.streams.video:
            raise InputError(f"{self._path}: no video stream in this file")
        stream = self._container.streams.video[0]
        if stream.codec_context is None:
            raise InputError(f"{self._path}: unknown video codec")
        return stream

    def _packets(self) -> Iterator[av.Packet]:
        """The stream's packets; the last, empty one that drains the decoder is left out."""
        for packet in self._container.demux(self._stream):
            if packet.size:
                yield packet

    def _build_index(self) -> VideoIndex:
        shown: list[tuple[int | None, int]] = []  # time and group of every shown frame
        first_packet: list[int] = []
        open_groups: set[int] = set()
        key_time: int | None = None
        end_time = 0
        try:
            for number, packet in enumerate(self._packets()):
                if packet.is_keyframe or not first_packet:
                    first_packet.append(number)
                    key_time = packet.pts
                group = len(first_packet) - 1
                if packet.is_discard or _is_hidden(packet, self._stream.codec_context.name):
                    continue
                if packet.pts is not None and key_time is not None and packet.pts < key_time:
                    open_groups.add(group)
                if packet.pts is not None:
                    end_time = max(end_time, packet.pts + (packet.duration or 0))
                shown.append((packet.pts, group))
        except (av.FFmpegError, ValueError) as error:
            raise InputError(
                f"{self._path}: can't be read past frame {len(shown)}: {_reason(error)}"
            ) from None
        if not shown:
            raise InputError(f"{self._path}: no frames in this video")
        self._check_length(len(shown), end_time)
        times = [time for time, _ in shown]
        timed = None not in times and len(set(times)) == len(times)
        if timed:
            shown.sort(key=lambda item: item[0] or 0)
            times = [time for time, _ in shown]
        else:
            times = list(range(len(shown)))
        return VideoIndex(
            times=tuple(time or 0 for time in times),
            first_packet=tuple(first_packet),
            groups=tuple(group for _, group in shown),
            open_groups=frozenset(open_groups),
            timed=timed,
        )

    def _check_length(self, count: int, end_time: int) -> None:
        """Compares what the header promises with what the file holds."""
        promised = self._stream.frames
        if promised > count:
            raise InputError(
                f"{self._path}: cut short: its header promises {promised} frames, "
                f"the file holds {count}"
            )
        duration, time_base = self._container.duration, self._stream.time_base
        alone = len(self._container.streams) == 1
        if promised == 0 and alone and duration is not None and time_base is not None and end_time:
            begin = (self._container.start_time or 0) / av.time_base
            promised_end = begin + duration / av.time_base
            held_end = float(end_time * time_base)
            if promised_end - held_end > _MISSING_SECONDS:
                raise InputError(
                    f"{self._path}: cut short: its header promises {promised_end - begin:.1f} s, "
                    f"the file holds {held_end - begin:.1f} s"
                )

    def _part(self, start: float | None, end: float | None) -> range:
        if start is None and end is None:
            return range(len(self._index.times))
        seconds = self._seconds()
        first = bisect.bisect_left(seconds, start or 0.0)
        last = len(seconds) if end is None else bisect.bisect_left(seconds, end)
        if first >= last:
            raise InputError(
                f"{self._path}: no frames from {start or 0:g} s to "
                f"{'the end' if end is None else f'{end:g} s'}; the video's last frame is at "
                f"{seconds[-1]:g} s"
            )
        return range(first, last)

    def _seconds(self) -> list[float]:
        """Time of each frame after the first one."""
        times = self._index.times
        if self._index.timed and self._stream.time_base is not None:
            unit = self._stream.time_base
        elif self._stream.average_rate:
            unit = 1 / self._stream.average_rate
        else:
            raise InputError(f"{self._path}: has no times and no frame rate: start and end fail")
        return [float((time - times[0]) * unit) for time in times]

    def _decode(self, frames: Sequence[int]) -> Iterator[tuple[int, VideoFrame]]:
        """(number, frame) of at least the given frames."""
        numbers = {time: number for number, time in enumerate(self._index.times)}
        for count, frame in enumerate(self._decode_groups(self._index.needed_groups(frames))):
            if not self._index.timed:
                yield count, frame
            elif frame.pts in numbers:
                yield numbers[frame.pts], frame

    def _decode_groups(self, needed: set[int]) -> Iterator[VideoFrame]:
        codec = self._stream.codec_context
        starts = {packet: group for group, packet in enumerate(self._index.first_packet)}
        group = -1
        self._container.seek(0)
        for position, packet in enumerate(self._packets()):
            group = starts.get(position, group)
            if group in needed:
                yield from codec.decode(packet)
            elif position in starts and group - 1 in needed:
                # The frames that the decoder still holds back come out before it starts anew.
                yield from codec.decode(None)
                codec.flush_buffers()
            if group > max(needed):
                return
        yield from codec.decode(None)


def _is_hidden(packet: av.Packet, codec: str) -> bool:
    """VP8 stores reference pictures that are never shown as packets of their own."""
    return codec == "vp8" and not bytes(packet)[0] >> 4 & 1


def _upright_rgb(frame: VideoFrame) -> NDArray[np.uint8]:
    image: NDArray[np.uint8] = frame.to_ndarray(format="rgb24").astype(np.uint8, copy=False)
    turns = round(frame.rotation / 90) % 4
    return np.ascontiguousarray(np.rot90(image, turns)) if turns else image


def _reason(error: BaseException) -> str:
    """FFmpeg's words without the file name and number that PyAV wraps around them."""
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return str(text).splitlines()[0]
