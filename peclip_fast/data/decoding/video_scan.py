"""The pass over a video file that makes its index."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
from av.container import InputContainer
from av.video.codeccontext import VideoCodecContext
from av.video.frame import PictureType, VideoFrame
from av.video.stream import VideoStream

from peclip_fast.data.decoding.ffmpeg import named_errors, open_video, packets
from peclip_fast.data.decoding.file_length import is_whole
from peclip_fast.data.decoding.geometry import Geometry, display_matrix, geometry_of
from peclip_fast.data.decoding.packed_file import is_packed
from peclip_fast.data.decoding.video_index import VideoIndex
from peclip_fast.errors import InputError

# Formats that tell when a frame is shown. In others (AVI, ASF, bare streams) FFmpeg makes times up,
# which are in the order of the packets.
_MP4, _MATROSKA, _FLV = "mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm", "flv"
_TIMED = frozenset({_MP4, _MATROSKA, _FLV, "mpegts", "nut"})

_MPEG4_PICTURE = b"\0\0\1\xb6"  # its start code
# Decoders that can pass over a frame of which no other is made, packet by packet.
_SKIPPING = frozenset({"h264", "hevc", "mpeg4", "vp8", "vp9"})

# A video whose container promises a length is called cut when it ends too early, by more than a
# last frame of unknown length explains.
_MISSING_SECONDS = 0.05
_MISSING_FRAMES = 1.5


@dataclass
class _Packets:
    """What the packets tell, each by its position.

    Args:
        pts: presentation times.
        dts: decoding times.
        keys: positions of key frames' packets.
        shown: positions of packets of which a frame is shown, as far as packets tell.
        end: of the last frame, in the stream's unit of time.
        frame: the first that can be decoded.
        packed: some packet holds two pictures, of which the second one is shown in place of the
            next packet's empty one, as old encoders of MPEG-4 did for AVI.
    """

    pts: list[int | None]
    dts: list[int | None]
    keys: list[int]
    shown: list[int]
    end: int = 0
    frame: VideoFrame | None = None
    packed: bool = False


def scan(path: Path) -> VideoIndex:
    """The index of a file.

    Where the packets' times don't tell the order in which frames are shown, or the file begins
    with frames that can't be decoded, all of it is decoded once.

    Raises:
        InputError: the file is no video, is damaged, cut short, or has no frame.
    """
    if not path.is_file():
        raise InputError(f"{path}: neither a file nor a folder")  # to open a pipe would wait
    container, stream = open_video(path)
    try:
        with named_errors(path, "can't be read"):
            found = _pass_over(path, container, stream)
            _check_length(path, container, stream, found)
            positions = _by_times(container, stream, found)
            timed = positions is not None
            if positions is None:
                positions = _by_decoding(path, found)
            if not positions:
                raise InputError(f"{path}: no frames in this video")
            times, unit, zero = _times(container, stream, found, positions)
            firsts, open_groups = _groups(found, positions)
            told = [found.pts[position] for position in positions]
            skips = stream.codec_context.name in _SKIPPING and not found.packed
            return VideoIndex(
                codec=stream.codec_context.name,
                geometry=_geometry(path, container, stream, found.frame),
                time_unit=unit,
                times=tuple(times),
                zero=zero,
                positions=tuple(positions),
                first_packet=tuple(firsts),
                open_groups=frozenset(open_groups),
                timed=timed and told == times and len(set(times)) == len(times),
                skips=skips and (timed or len(positions) == len(found.pts)),
                packets=len(found.pts),
            )
    finally:
        container.close()


def _pass_over(path: Path, container: InputContainer, stream: VideoStream) -> _Packets:
    codec = stream.codec_context
    found = _Packets([], [], [], [])
    for position, packet in enumerate(packets(container, stream)):
        if packet.is_corrupt and (found.keys or not position):
            raise InputError(f"{path}: cut short or damaged: frame {position} isn't whole")
        found.pts.append(packet.pts)
        found.dts.append(packet.dts)
        if packet.is_keyframe:
            found.keys.append(position)
        if not (packet.is_discard or _is_hidden(packet, codec.name)):
            found.shown.append(position)
            found.end = max(found.end, (packet.pts or 0) + (packet.duration or 0))
        if codec.name == "mpeg4":
            found.packed |= bytes(packet).count(_MPEG4_PICTURE) > 1
        if found.frame is None:
            found.frame = next(_lenient(codec, packet), None)
    if not found.shown:
        raise InputError(f"{path}: no frames in this video")
    if found.frame is None:
        found.frame = next(_lenient(codec, None), None)
    return found


def _lenient(codec: VideoCodecContext, packet: av.Packet | None) -> Iterator[VideoFrame]:
    """A packet's frames; one that can't be decoded is found by whoever reads it."""
    try:
        yield from codec.decode(packet)
    except av.FFmpegError:
        return


def _by_times(container: InputContainer, stream: VideoStream, found: _Packets) -> list[int] | None:
    """Positions in the order in which frames are shown; None where only the decoder knows it."""
    pts = [found.pts[position] for position in found.shown]
    if not found.keys or found.shown[0] < found.keys[0]:
        return None  # it begins within a group
    if not stream.codec_context.codec.reorder:
        return found.shown
    known = [time for time in pts if time is not None]
    if container.format.name not in _TIMED or len(set(known)) < len(pts) or not _ascends(found.dts):
        return None
    if stream.codec_context.has_b_frames and _ascends(known):
        return None  # the frames change places and the times don't: they came from elsewhere
    first_key = found.pts[found.keys[0]]
    if first_key is None or min(known) < first_key:
        return None  # it begins with frames that build on others, which were cut off
    return [position for _, position in sorted(zip(known, found.shown, strict=True))]


def _by_decoding(path: Path, found: _Packets) -> list[int]:
    """Positions in the order in which the decoder shows the packets' frames.

    What can't be decoded before the first whole frame is left out, as players do. Of ``found.keys``
    those are taken away that the decoder doesn't call key frames.

    Raises:
        whatever PyAV raises, for a packet after the first key frame's.
    """
    shown: dict[int, bool] = {}  # position to whether it is a key frame
    container, stream = open_video(path)
    codec, begun = stream.codec_context, False
    try:
        for position, packet in enumerate(packets(container, stream)):
            begun = begun or packet.is_keyframe
            packet.pts = position
            _note(shown, codec.decode(packet) if begun else _lenient(codec, packet))
        _note(shown, codec.decode(None))
    finally:
        container.close()
    found.keys = [key for key in found.keys if shown.get(key, True)]
    return list(shown)


def _note(shown: dict[int, bool], frames: Iterable[VideoFrame]) -> None:
    for frame in frames:
        if frame.pts is not None and (shown or frame.key_frame or not frame.is_corrupt):
            shown.setdefault(frame.pts, begins_group(frame))  # the same frame may come twice


def begins_group(frame: VideoFrame) -> bool:
    """Whether decoding can begin at a frame.

    H.264 calls frames with prediction key frames too where the picture is renewed part by part.
    """
    return frame.key_frame and frame.pict_type not in (PictureType.P, PictureType.B)


def _groups(found: _Packets, positions: list[int]) -> tuple[list[int], set[int]]:
    """Where groups begin, and which of them are open."""
    rank = {position: number for number, position in enumerate(positions)}
    begin = min(positions)
    # A file that begins within a group has no key frame for the frames before the first one.
    firsts = [key for key in found.keys if key > begin]
    before = [key for key in found.keys if key <= begin]
    firsts.insert(0, before[-1] if before else 0)
    open_groups = set()
    for group, (first, following) in enumerate(pairwise([*firsts, len(found.pts)])):
        # Where the key frame isn't shown, nobody knows.
        key = rank.get(first, len(rank))
        if any(rank.get(position, key) < key for position in range(first, following)):
            open_groups.add(group)
    return firsts, open_groups


def _times(
    container: InputContainer, stream: VideoStream, found: _Packets, positions: list[int]
) -> tuple[list[int], Fraction | None, int]:
    """The frames' moments, their unit, and the moment from which players count."""
    # AVI tells which frame comes when in its own way: by the number of chunks before it.
    avi = container.format.name == "avi"
    for times in (found.dts, found.pts) if avi else (found.pts, found.dts):
        known = [time for time in (times[position] for position in positions) if time is not None]
        if len(known) < len(positions):
            continue
        if not _ascends(known) and _ascends(found.dts):
            known.sort()  # made up in the order of the packets
        if _ascends(known) and stream.time_base is not None:
            zero = known[0]
            if container.start_time is not None:
                zero = round(Fraction(container.start_time, av.time_base) / stream.time_base)
            return known, stream.time_base, zero
    return list(range(len(positions))), 1 / stream.average_rate if stream.average_rate else None, 0


def _ascends(times: Iterable[int | None]) -> bool:
    known = [time for time in times if time is not None]
    return all(a <= b for a, b in pairwise(known))


def _check_length(
    path: Path, container: InputContainer, stream: VideoStream, found: _Packets
) -> None:
    """Compares what the container promises with what the file holds."""
    name, count = container.format.name, len(found.pts)
    whole = is_whole(path, name)
    if whole:
        return
    if whole is False:
        raise InputError(f"{path}: cut short: the end of the file is missing")
    if name == _MP4 and stream.frames > count:
        raise InputError(
            f"{path}: cut short: its header promises {stream.frames} frames, the file holds {count}"
        )
    single = len(container.streams) == 1  # sound may last longer
    if name in (_MATROSKA, _FLV) and single and container.duration and stream.time_base:
        # Some writers count from 0, some from the first frame: the earlier end is believed.
        promised, held = container.duration / av.time_base, float(found.end * stream.time_base)
        length = held - (container.start_time or 0) / av.time_base
        if promised - held > max(_MISSING_SECONDS, _MISSING_FRAMES * length / count):
            raise InputError(
                f"{path}: cut short: its header promises {promised:.1f} s, "
                f"the file holds {held:.1f} s"
            )


def _geometry(
    path: Path, container: InputContainer, stream: VideoStream, frame: VideoFrame | None
) -> Geometry:
    size = stream.codec_context if frame is None else frame
    # The density that images tell is for printing them: packed ones are as those of a folder.
    aspect = None if is_packed(container) else stream.sample_aspect_ratio
    matrix = None if frame is None else display_matrix(frame)
    return geometry_of(path, size.height, size.width, aspect, matrix)


def _is_hidden(packet: av.Packet, codec: str) -> bool:
    """VP8 stores reference pictures that are never shown as packets of their own."""
    return codec == "vp8" and not bytes(packet)[0] >> 4 & 1
