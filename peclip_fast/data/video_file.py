"""Clips stored as video files, decoded by FFmpeg through PyAV: every codec, on the CPU."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import av
import numpy as np
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from numpy.typing import NDArray

from peclip_fast.data.video_index import VideoIndex, build_index, packets, reason
from peclip_fast.errors import InputError


class VideoFile:
    """A video file, or the part of it from ``start`` to ``end`` seconds.

    Frames are numbered in the order in which they are shown. Groups of pictures (a key frame and
    what builds on it) that hold no wanted frame are passed over without decoding.

    Args:
        path: the file.
        start: first moment in seconds.
        end: end in seconds, exclusive.
        threads: decoder threads; 0 lets the decoder choose.
        index: of this file where it is known, which saves a pass over the packets.

    Raises:
        InputError: the file is no video, is cut short, or has no frame (in the given part).
    """

    def __init__(
        self,
        path: Path,
        start: float | None = None,
        end: float | None = None,
        threads: int = 1,
        index: VideoIndex | None = None,
    ) -> None:
        self._path = path
        try:
            self._container: InputContainer = av.open(str(path), mode="r")
        except (av.FFmpegError, OSError, ValueError) as error:
            raise InputError(f"{path}: not a readable video: {reason(error)}") from None
        try:
            self._stream = self._video_stream()
            self._stream.codec_context.thread_count = threads
            self.index = index or build_index(path, self._container, self._stream)
            self._frames = self.index.part(path, start, end)
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
                    images[number] = self._upright_rgb(frame)
                    if len(images) == len(wanted):
                        break
        except (av.FFmpegError, ValueError, MemoryError) as error:
            if isinstance(error, InputError):
                raise
            raise InputError(
                f"{self._path}: decoding failed after {len(images)} of {len(wanted)} wanted "
                f"frames: {reason(error)}"
            ) from None
        if len(images) < len(wanted):
            missing = min(wanted - images.keys())
            raise InputError(
                f"{self._path}: cut short or damaged: frame {missing} of "
                f"{self.index.num_frames} can't be decoded"
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

    def _decode(self, frames: Sequence[int]) -> Iterator[tuple[int, VideoFrame]]:
        """(number, frame) of at least the given frames."""
        numbers = {time: number for number, time in enumerate(self.index.times)}
        for count, frame in enumerate(self._decode_groups(self.index.needed_groups(frames))):
            if not self.index.timed:
                yield count, frame
            elif frame.pts in numbers:
                yield numbers[frame.pts], frame

    def _decode_groups(self, needed: set[int]) -> Iterator[VideoFrame]:
        codec = self._stream.codec_context
        starts = {packet: group for group, packet in enumerate(self.index.first_packet)}
        group = -1
        self._container.seek(0)
        for position, packet in enumerate(packets(self._container, self._stream)):
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

    def _upright_rgb(self, frame: VideoFrame) -> NDArray[np.uint8]:
        image: NDArray[np.uint8] = frame.to_ndarray(format="rgb24").astype(np.uint8, copy=False)
        turns = self.index.turns
        return np.ascontiguousarray(np.rot90(image, turns)) if turns else image
