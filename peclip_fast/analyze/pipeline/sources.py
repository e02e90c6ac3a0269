"""What can be analyzed: video files, streams and cameras, as frames with their times."""

from __future__ import annotations

import glob
import hashlib
import os
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import av
from av.video.reformatter import VideoReformatter

from peclip_fast.data.decoding.clip_source import open_clip_source
from peclip_fast.data.decoding.ffmpeg import named_errors
from peclip_fast.data.decoding.geometry import display_matrix, geometry_of
from peclip_fast.data.decoding.stamps import content_stamp
from peclip_fast.data.decoding.video_index import VideoIndex
from peclip_fast.data.media import list_clips
from peclip_fast.errors import InputError
from peclip_fast.faces.geometry import Frame

STANDARD_INPUT = "-"
_CAMERA = re.compile(r"camera:(\d*)")
_URL = re.compile(r"[a-z][a-z0-9+.-]*://", re.IGNORECASE)
# Which come as fast as they happen: who can't keep up has to leave something out.
_LIVE = re.compile(r"(camera:|rtsps?://|rtmps?://|udp://|srt://)", re.IGNORECASE)


class TimedFrame(NamedTuple):
    """A frame uint8 RGB (H, W, 3), its number in the video and when it is shown, in seconds."""

    number: int
    time: float
    image: Frame


@dataclass(frozen=True)
class VideoSource:
    """One source, not opened yet.

    Args:
        name: a file's path, a URL, ``camera:0``, or ``-`` for standard input.
    """

    name: str

    @property
    def is_file(self) -> bool:
        """Whether it is a file, which can be read again."""
        return not (
            self.name == STANDARD_INPUT or _CAMERA.match(self.name) or _URL.match(self.name)
        )

    @property
    def is_live(self) -> bool:
        """Whether it comes as fast as it happens."""
        return bool(_LIVE.match(self.name))

    @property
    def place(self) -> str:
        """The absolute path, or the URL."""
        return os.path.abspath(self.name) if self.is_file else self.name

    @property
    def stem(self) -> str:
        """A name for its folder."""
        if self.name == STANDARD_INPUT:
            return "standard-input"
        named = Path(self.name).stem if self.is_file else re.sub(r"\W+", "-", self.name).strip("-")
        return named or "video"

    def stamp(self) -> str | None:
        """What tells that a file is still the one that it was; None for what is no file.

        Raises:
            InputError: it is not there.
        """
        if not self.is_file:
            return None
        try:
            return content_stamp(self.name)
        except OSError as error:
            raise InputError(f"{self.name}: can't be read: {error.strerror}") from None


@dataclass(frozen=True)
class TimeSpan:
    """Which frames of a video are looked at.

    Args:
        start: first moment in seconds; None is the video's.
        end: end in seconds, exclusive; None is the video's.
        every: each so many-th frame.
    """

    start: float | None = None
    end: float | None = None
    every: int = 1

    def __str__(self) -> str:
        until = "the end" if self.end is None else f"{self.end:g} s"
        return f"from {self.start or 0:g} s to {until}"


class OpenVideo:
    """A source's frames, one at a time in memory.

    Args:
        source: which.
        span: which frames of it.
        threads: that decode a file; 0 lets the decoder choose.

    Raises:
        InputError: it can't be opened, has no frame there or no times; names it.
    """

    def __init__(self, source: VideoSource, span: TimeSpan = TimeSpan(), threads: int = 0) -> None:
        self.source, self.span, self._threads = source, span, threads
        self.about: dict[str, Any] = {}  # width, height, and of files frames and duration
        self.total: int | None = None  # frames that there will be
        self._frames = self._of_file() if source.is_file else self._of_stream()

    def __iter__(self) -> Iterator[TimedFrame]:
        return self._frames

    def close(self) -> None:
        """Gives the file, stream or camera back."""
        self._frames.close()

    def _of_file(self) -> Any:
        path, span = Path(self.source.name), self.span
        if path.is_dir():
            raise InputError(f"{path}: expected a video file; a folder of frames tells no times")
        clip = open_clip_source(path, threads=self._threads)
        index = clip.index
        seconds = index.seconds() if isinstance(index, VideoIndex) else None
        if not isinstance(index, VideoIndex) or seconds is None or index.time_unit is None:
            clip.close()
            raise InputError(f"{path}: tells neither times nor a frame rate")
        begins = float(index.zero * index.time_unit)
        times = [begins + second for second in seconds]
        numbers = range(index.num_frames)
        if span.start is not None or span.end is not None:
            clip.close()
            start, end = (None if t is None else t - begins for t in (span.start, span.end))
            try:
                numbers = index.part(path, start, end)
            except InputError:  # which counts otherwise
                raise InputError(
                    f"{path}: no frame {span}; its frames are at {times[0]:g} to {times[-1]:g} s"
                ) from None
            clip = open_clip_source(path, start, end, threads=self._threads)
        self.total = len(numbers[:: span.every])
        self.about = {
            "width": index.width,
            "height": index.height,
            "frames": index.num_frames,
            "start": begins,
            "duration": _duration(seconds),
        }

        def frames() -> Iterator[TimedFrame]:
            try:
                for number, image in zip(numbers, clip.frames(), strict=True):
                    if (number - numbers[0]) % span.every == 0:
                        yield TimedFrame(number, times[number], image)
            finally:
                clip.close()

        return frames()

    def _of_stream(self) -> Any:
        name, span = self.source.name, self.span
        with named_errors(name, "can't be opened"):
            container = _open_stream(name)
        if not container.streams.video:
            container.close()
            raise InputError(f"{name}: no video stream in it")
        stream = container.streams.video[0]

        def frames() -> Iterator[TimedFrame]:
            reformatter, geometry, zero = VideoReformatter(), None, None
            rate = float(stream.average_rate or 25)
            try:
                with named_errors(name, "reading failed"):
                    for number, frame in enumerate(container.decode(stream)):
                        if geometry is None or (frame.height, frame.width) != (
                            geometry.decoded_height,
                            geometry.decoded_width,
                        ):
                            geometry = geometry_of(Path(name), frame.height, frame.width,
                                                   stream.sample_aspect_ratio,
                                                   display_matrix(frame))  # fmt: skip
                            self.about |= {"width": geometry.width, "height": geometry.height}
                        time = number / rate if frame.time is None else float(frame.time)
                        if zero is None:  # a camera counts from when it was plugged in
                            zero = time if self.source.is_live else 0.0
                        time -= zero
                        if span.end is not None and time >= span.end:
                            return
                        if number % span.every == 0 and time >= (span.start or 0.0):
                            yield TimedFrame(number, time, geometry.rgb(frame, reformatter))
            finally:
                container.close()

        return frames()


def find_sources(given: Sequence[str]) -> list[VideoSource]:
    """The sources that a command line names; folders and patterns stand for the videos in them.

    Raises:
        InputError: a folder or pattern holds no video, or a source comes twice.
    """
    found: list[VideoSource] = []
    for name in given:
        source = VideoSource(name)
        if source.is_file and os.path.isdir(name):
            videos = [path for path in list_clips(Path(name)) if path.is_file()]
            if not videos:
                raise InputError(f"{name}: expected video files in this folder; it has none")
            found += [VideoSource(str(path)) for path in videos]
        elif source.is_file and not os.path.exists(name) and glob.has_magic(name):
            paths = sorted(path for path in glob.glob(name, recursive=True) if os.path.isfile(path))
            if not paths:
                raise InputError(f"{name}: no file matches")
            found += map(VideoSource, paths)
        else:
            found.append(source)
    return list({source.place: source for source in found}.values())


def folder_names(sources: Sequence[VideoSource]) -> dict[str, str]:
    """A folder's name for each place: its stem, and more where several sources have that."""
    stems = [source.stem.lower() for source in sources]
    return {
        source.place: source.stem
        if stems.count(source.stem.lower()) == 1
        else f"{source.stem}-{hashlib.sha256(os.fsencode(source.place)).hexdigest()[:8]}"
        for source in sources
    }


def _open_stream(name: str) -> Any:
    if name == STANDARD_INPUT:
        return av.open(sys.stdin.buffer, "r", metadata_errors="replace")
    camera = _CAMERA.fullmatch(name)
    if camera and camera[1]:
        return av.open(f"/dev/video{camera[1]}", "r", format="v4l2")
    if name.startswith("camera:"):
        raise InputError(f"{name}: expected camera:0, camera:1, ...")
    options = {"rtsp_transport": "tcp"} if name.lower().startswith("rtsp") else {}
    return av.open(name, "r", options=options, timeout=10.0, metadata_errors="replace")


def _duration(times: Sequence[float]) -> float:
    """Of a video whose last frame is shown as long as the others are on average."""
    shown = times[-1] - times[0]
    return times[-1] + (shown / (len(times) - 1) if len(times) > 1 else 0.0)
