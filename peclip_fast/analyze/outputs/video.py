"""The annotated video: what was found drawn on its frames, each at its own time, with the sound."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.container import InputContainer, OutputContainer
from av.video.reformatter import ColorRange, Colorspace
from av.video.stream import VideoStream
from numpy.typing import NDArray

from peclip_fast.analyze.outputs.digest import digest
from peclip_fast.analyze.outputs.drawing import FrameDrawer
from peclip_fast.analyze.results import Analysis, FaceRow
from peclip_fast.data.decoding.ffmpeg import named_errors, open_container
from peclip_fast.data.decoding.video_file import VideoFile
from peclip_fast.errors import InputError
from peclip_fast.files import PARTIAL

# Which kind of file takes the sound as it is; MP4 plays everywhere, Matroska takes anything.
KINDS = {".mp4": "mp4", ".mov": "mov", ".mkv": "matroska"}
_X264 = {"crf": "20", "preset": "veryfast"}
_UNIT = Fraction(1, 25)  # seconds of a frame where a file tells none, as players take it
_BT709 = 1  # FFmpeg's number of its primaries and transfer


def annotate(
    analysis: Analysis, source: Path, stem: Path, tick: Callable[[int], object] | None = None
) -> Path:
    """Write the video with boxes, tracks' numbers, predictions and a running bar.

    Frames have the times that they have in the source, whatever its rate, and stand upright. Sound
    is copied as it is. The file is an MP4 unless that doesn't take the sound.

    Args:
        analysis: of the source.
        source: a video file.
        stem: of the new file, without its suffix.
        tick: called with the number of each frame that is written.

    Returns:
        The file.

    Raises:
        InputError: the source can't be read; names it.
    """
    video = VideoFile(source, threads=0)
    side = stem.with_name(f"{stem.name}{PARTIAL}{os.getpid()}")
    try:
        with named_errors(source, "can't be annotated"), contextlib.ExitStack() as open_files:
            container = open_files.enter_context(open_container(source))
            unit = video.index.time_unit or _UNIT
            suffix, output, sound = _output(side, container, unit)
            with output:
                _write(output, video, analysis, _sound(container, sound), tick)
        path = stem.with_name(stem.name + suffix)
        os.replace(side, path)
    finally:
        video.close()
        side.unlink(missing_ok=True)
    return path


def _output(
    side: Path, container: InputContainer, unit: Fraction
) -> tuple[str, OutputContainer, dict[int, Any]]:
    """The suffix and the file that takes all of the sound, and its streams by those of the source.

    Subtitles and data are left out, and so is sound that FFmpeg doesn't know.
    """
    known = [stream for stream in container.streams.audio if stream.codec_context is not None]
    # FFmpeg would shift all that begins before 0, and round a late start to milliseconds.
    exact = {"avoid_negative_ts": "disabled", "movie_timescale": str(_timescale(unit))}
    for suffix, kind in KINDS.items():
        if kind == "matroska":
            del exact["movie_timescale"]
        output = av.open(str(side), "w", format=kind, options=exact)
        try:
            output.add_stream("libx264", rate=30, options=_X264)
            return suffix, output, {s.index: output.add_stream_from_template(s) for s in known}
        except ValueError:  # this kind doesn't take such sound
            output.close()
    raise InputError(f"{container.name}: no kind of file takes its sound")


def _timescale(unit: Fraction) -> int:
    """Units of a second in which a whole number is any time of the video."""
    return unit.denominator * -(-1000 // unit.denominator)


def _sound(container: InputContainer, streams: dict[int, Any]) -> Iterator[tuple[float, Any]]:
    """(seconds, packet) of the sound, for the streams of the new file."""
    if not streams:
        return
    for packet in container.demux([container.streams[index] for index in streams]):
        if packet.dts is None or packet.time_base is None:
            continue
        time = float(packet.dts * packet.time_base)
        packet.stream = streams[packet.stream.index]
        yield time, packet


def _write(
    output: OutputContainer,
    video: VideoFile,
    analysis: Analysis,
    sound: Iterator[tuple[float, Any]],
    tick: Callable[[int], object] | None,
) -> None:
    index = video.index
    height, width = index.height, index.width
    drawer = FrameDrawer(digest(analysis), analysis.classes, height, width)
    stream = output.streams.video[0]
    assert isinstance(stream, VideoStream)
    stream.height, stream.width = height + height % 2, width + width % 2
    stream.pix_fmt = "yuv420p"
    unit, times = index.time_unit or _UNIT, _times(video)
    _describe(stream, unit)
    rows = rows_of_frames(analysis, len(times))
    waiting = next(sound, None)
    for number, (image, now) in enumerate(zip(video.frames(), rows, strict=True)):
        moment = float(times[number] * unit)
        frame = _frame(drawer.draw(image, now, moment))
        frame.pts, frame.time_base = times[number], unit
        while waiting is not None and waiting[0] <= moment:
            output.mux(waiting[1])
            waiting = next(sound, None)
        output.mux(stream.encode(frame))
        if tick is not None:
            tick(number)
    output.mux(stream.encode(None))
    while waiting is not None:
        output.mux(waiting[1])
        waiting = next(sound, None)


def _times(video: VideoFile) -> list[int]:
    """The frames' moments, no two of them the same."""
    times: list[int] = []
    for time in video.index.times:
        times.append(max(time, times[-1] + 1) if times else time)
    return times


def _describe(stream: VideoStream, unit: Fraction) -> None:
    codec = stream.codec_context
    codec.time_base = stream.time_base = unit
    codec.colorspace, codec.color_range = Colorspace.ITU709, ColorRange.MPEG
    codec.color_primaries = codec.color_trc = _BT709


def _frame(image: NDArray[np.uint8]) -> av.VideoFrame:
    height, width = image.shape[:2]
    if height % 2 or width % 2:  # half the colours take even sizes
        image = np.pad(image, ((0, height % 2), (0, width % 2), (0, 0)), "edge")
    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
    return frame.reformat(
        format="yuv420p", dst_colorspace=Colorspace.ITU709, dst_color_range=ColorRange.MPEG
    )


def rows_of_frames(analysis: Analysis, count: int) -> Iterator[Sequence[FaceRow]]:
    """The rows to draw on each of so many frames.

    Where only every so many frames were looked at, what was found stays for those between.
    """
    now: list[FaceRow] = []
    step, number, shown = 1, 0, None
    for frame, rows in _by_frame(analysis):
        if shown is not None:
            step = frame - shown
        while number < min(frame, count):
            yield now
            number += 1
        now, shown = rows, frame
    while number < count:
        yield now if shown is not None and number < shown + step else []
        number += 1


def _by_frame(analysis: Analysis) -> Iterator[tuple[int, list[FaceRow]]]:
    number, rows = None, list[FaceRow]()
    for row in analysis.frames:
        if row.frame != number:
            if number is not None:
                yield number, rows
            number, rows = row.frame, []
        rows.append(row)
    if number is not None:
        yield number, rows
