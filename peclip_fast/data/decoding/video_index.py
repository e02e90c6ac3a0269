"""Where the frames of a video file are, from one pass over its packets."""

from __future__ import annotations

import bisect
import contextlib
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
from av.container import InputContainer
from av.video.stream import VideoStream

from peclip_fast.errors import InputError

# A container without a frame count is called truncated when its video ends too early, by more than
# a last frame of unknown length explains.
_MISSING_SECONDS = 0.05
_MISSING_FRAMES = 1.5


@dataclass(frozen=True)
class VideoIndex:
    """What a pass over a video's packets tells.

    Args:
        codec: FFmpeg's name of the codec, such as ``h264``.
        height: of the frames as they are shown, in pixels.
        width: of the frames as they are shown.
        turns: quarter turns counter-clockwise that bring a decoded frame upright.
        time_unit: seconds per unit of ``times``; None where the file tells neither times nor a
            frame rate.
        times: presentation time of every frame, ascending.
        first_packet: for each group of pictures, its first packet in file order.
        groups: for each frame, in presentation order, the group that holds its packet.
        open_groups: groups with frames that are shown before their key frame and so need the
            group before them too.
        timed: the times come from the file and are distinct, so that frames can be told apart
            by them; otherwise frames are counted as they are decoded.
        packets: of the file, those included that no frame is shown of.
    """

    codec: str
    height: int
    width: int
    turns: int
    time_unit: Fraction | None
    times: tuple[int, ...]
    first_packet: tuple[int, ...]
    groups: tuple[int, ...]
    open_groups: frozenset[int]
    timed: bool
    packets: int

    @property
    def num_frames(self) -> int:
        """Frames of the whole file."""
        return len(self.times)

    def seconds(self) -> list[float] | None:
        """Time of each frame after the first one; None where the file tells no times."""
        if self.time_unit is None:
            return None
        return [float((time - self.times[0]) * self.time_unit) for time in self.times]

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
        first = bisect.bisect_left(seconds, start or 0.0)
        last = len(seconds) if end is None else bisect.bisect_left(seconds, end)
        if first >= last:
            raise InputError(
                f"{path}: no frames from {start or 0:g} s to "
                f"{'the end' if end is None else f'{end:g} s'}; the video's last frame is at "
                f"{seconds[-1]:g} s"
            )
        return range(first, last)

    def needed_groups(self, frames: Collection[int]) -> set[int]:
        """The groups to decode for some frames."""
        if not self.timed:
            return set(range(self.groups[max(frames)] + 1))
        needed = {self.groups[frame] for frame in frames}
        return needed | {group - 1 for group in needed & self.open_groups if group > 0}


def packets(container: InputContainer, stream: VideoStream) -> Iterator[av.Packet]:
    """The stream's packets; the last, empty one that drains the decoder is left out."""
    for packet in container.demux(stream):
        if packet.size:
            yield packet


def build_index(path: Path, container: InputContainer, stream: VideoStream) -> VideoIndex:
    """The index of an opened file, which is left at some place in its middle.

    Raises:
        InputError: the file is damaged, cut short, or has no frame.
    """
    codec = stream.codec_context
    shown: list[tuple[int | None, int]] = []  # time and group of every shown frame
    first_packet: list[int] = []
    open_groups: set[int] = set()
    key_time: int | None = None
    end_time = number = 0
    try:
        for number, packet in enumerate(packets(container, stream)):
            if packet.is_corrupt:
                raise InputError(f"{path}: cut short or damaged: frame {len(shown)} isn't whole")
            if packet.is_keyframe or not first_packet:
                first_packet.append(number)
                key_time = packet.pts
            group = len(first_packet) - 1
            if packet.is_discard or _is_hidden(packet, codec.name):
                continue
            if packet.pts is not None and key_time is not None and packet.pts < key_time:
                open_groups.add(group)
            if packet.pts is not None:
                end_time = max(end_time, packet.pts + (packet.duration or 0))
            shown.append((packet.pts, group))
    except (av.FFmpegError, ValueError) as error:
        raise InputError(
            f"{path}: can't be read past frame {len(shown)}: {reason(error)}"
        ) from None
    if not shown:
        raise InputError(f"{path}: no frames in this video")
    _check_length(path, container, stream, number + 1, end_time)
    times = [time for time, _ in shown]
    timed = None not in times and len(set(times)) == len(times)
    if timed:
        shown.sort(key=lambda item: item[0] or 0)
        times = [time for time, _ in shown]
        unit = stream.time_base
    else:
        times = list(range(len(shown)))
        unit = 1 / stream.average_rate if stream.average_rate else None
    turns = _turns(container, stream)
    height, width = codec.height, codec.width
    return VideoIndex(
        codec=codec.name,
        height=width if turns % 2 else height,
        width=height if turns % 2 else width,
        turns=turns,
        time_unit=unit,
        times=tuple(time or 0 for time in times),
        first_packet=tuple(first_packet),
        groups=tuple(group for _, group in shown),
        open_groups=frozenset(open_groups),
        timed=timed,
        packets=number + 1,
    )


def reason(error: BaseException) -> str:
    """FFmpeg's words without the file name and number that PyAV wraps around them."""
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return str(text).splitlines()[0]


def _check_length(
    path: Path, container: InputContainer, stream: VideoStream, count: int, end_time: int
) -> None:
    """Compares what the header promises with what the file holds."""
    promised = stream.frames
    if promised > count:
        raise InputError(
            f"{path}: cut short: its header promises {promised} frames, the file holds {count}"
        )
    duration, time_base = container.duration, stream.time_base
    single = len(container.streams) == 1
    if promised == 0 and single and duration is not None and time_base is not None and end_time:
        begin = (container.start_time or 0) / av.time_base
        promised_end = begin + duration / av.time_base
        held_end = float(end_time * time_base)
        missing = promised_end - held_end
        if missing > max(_MISSING_SECONDS, _MISSING_FRAMES * (held_end - begin) / count):
            raise InputError(
                f"{path}: cut short: its header promises {promised_end - begin:.1f} s, "
                f"the file holds {held_end - begin:.1f} s"
            )


def _turns(container: InputContainer, stream: VideoStream) -> int:
    """How the first frame is turned; a damaged one is found by whoever reads it."""
    container.seek(0)
    with contextlib.suppress(av.FFmpegError, ValueError, StopIteration):
        return round(next(container.decode(stream)).rotation / 90) % 4
    return 0


def _is_hidden(packet: av.Packet, codec: str) -> bool:
    """VP8 stores reference pictures that are never shown as packets of their own."""
    return codec == "vp8" and not bytes(packet)[0] >> 4 & 1
