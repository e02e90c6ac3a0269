"""Clips stored as video files, decoded by FFmpeg through PyAV: every codec, on the CPU."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import av
import numpy as np
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter
from av.video.stream import VideoStream
from numpy.typing import NDArray

from peclip_fast.data.decoding.jpeg import decode_plain_jpeg, is_plain_jpeg
from peclip_fast.data.decoding.video_index import VideoIndex, build_index, packets, reason
from peclip_fast.errors import InputError

# Decoders that can pass over a frame of which no other is made, packet by packet.
_SKIPPING = frozenset({"h264", "hevc", "mpeg4", "vp8", "vp9"})


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
        self._reformatter = VideoReformatter()
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
        images = dict(self._images(set(numbers)))
        return np.stack([images[number] for number in numbers])

    def frames(self) -> Iterator[NDArray[np.uint8]]:
        """Every frame in order, as uint8 RGB (H, W, 3), upright; one at a time in memory."""
        for _, image in self._images(set(self._frames)):
            yield image

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

    def _images(self, wanted: set[int]) -> Iterator[tuple[int, NDArray[np.uint8]]]:
        """(number, image) of each wanted frame, in the order of the numbers.

        Raises:
            InputError: one of them can't be decoded or has another size.
        """
        missing = set(wanted)
        shape = None
        decode = self._decode_jpegs if self._holds_jpegs() else self._decode_video
        try:
            for number, image in decode(wanted):
                if number not in missing:
                    continue
                if shape not in (None, image.shape):
                    raise InputError(f"{self._path}: the frame size changes within the clip")
                shape = image.shape
                missing.discard(number)
                yield number, image
                if not missing:
                    return
        except (av.FFmpegError, ValueError, MemoryError) as error:
            if isinstance(error, InputError):
                raise
            raise InputError(
                f"{self._path}: decoding failed after {len(wanted) - len(missing)} of "
                f"{len(wanted)} wanted frames: {reason(error)}"
            ) from None
        raise InputError(
            f"{self._path}: cut short or damaged: frame {min(missing)} of "
            f"{self.index.num_frames} can't be decoded"
        )

    def _holds_jpegs(self) -> bool:
        """Whether every packet is a JPEG, and a frame."""
        return self.index.codec == "mjpeg" and len(self.index.first_packet) == self.index.num_frames

    def _decode_jpegs(self, wanted: set[int]) -> Iterator[tuple[int, NDArray[np.uint8]]]:
        """Packets that are JPEG files go to libjpeg-turbo, as the frames of a folder do."""
        codec = self._stream.codec_context
        numbers = {self.index.first_packet[self.index.groups[n]]: n for n in wanted}
        self._container.seek(0)
        for position, packet in enumerate(packets(self._container, self._stream)):
            if position not in numbers:
                continue
            image = _jpeg(bytes(packet), codec.height, codec.width)
            if image is not None:
                yield numbers[position], self._upright(image)
                continue
            for frame in codec.decode(packet):
                self._check(frame, numbers[position])
                yield numbers[position], self._upright(self._rgb(frame))

    def _decode_video(self, wanted: set[int]) -> Iterator[tuple[int, NDArray[np.uint8]]]:
        numbers: dict[int | None, int] = {time: k for k, time in enumerate(self.index.times)}
        for count, frame in enumerate(self._decode_groups(wanted)):
            number = numbers.get(frame.pts) if self.index.timed else count
            if number is None:
                continue
            self._check(frame, number)
            if number in wanted:
                yield number, self._upright(self._rgb(frame))

    def _decode_groups(self, wanted: set[int]) -> Iterator[VideoFrame]:
        codec = self._stream.codec_context
        needed = self.index.needed_groups(wanted)
        times = {self.index.times[number] for number in wanted}
        skips = self.index.timed and self.index.codec in _SKIPPING
        starts = {packet: group for group, packet in enumerate(self.index.first_packet)}
        group = -1
        self._container.seek(0)
        for position, packet in enumerate(packets(self._container, self._stream)):
            group = starts.get(position, group)
            if group in needed:
                if skips:
                    codec.skip_frame = "DEFAULT" if packet.pts in times else "NONREF"
                yield from codec.decode(packet)
            elif position in starts and group - 1 in needed:
                # The frames that the decoder still holds back come out before it starts anew.
                yield from codec.decode(None)
                codec.flush_buffers()
            if group > max(needed):
                return
        yield from codec.decode(None)

    def _check(self, frame: VideoFrame, number: int) -> None:
        if frame.is_corrupt:
            raise InputError(f"{self._path}: frame {number} is damaged")

    def _rgb(self, frame: VideoFrame) -> NDArray[np.uint8]:
        # One reformatter for all frames: making a new one takes longer than its work.
        image = self._reformatter.reformat(frame, format="rgb24", threads=1).to_ndarray()
        return image.astype(np.uint8, copy=False)

    def _upright(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        turns = self.index.turns
        return np.ascontiguousarray(np.rot90(image, turns)) if turns else image


def _jpeg(packet: bytes, height: int, width: int) -> NDArray[np.uint8] | None:
    """A packet's picture, or None where only FFmpeg knows it: two fields, another range, a flaw."""
    if not is_plain_jpeg(packet) or b"CS=ITU601" in packet[:1024]:
        return None
    try:
        image = decode_plain_jpeg(packet)
    except ValueError:
        return None
    return image if image.shape[:2] == (height, width) else None
