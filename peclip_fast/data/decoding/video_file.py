"""Clips stored as video files, decoded by FFmpeg through PyAV: every codec, on the CPU."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

import av
import numpy as np
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter
from av.video.stream import VideoStream
from numpy.typing import NDArray

from peclip_fast.data.decoding.ffmpeg import named_errors, open_video, packets
from peclip_fast.data.decoding.jpeg import decode_plain_jpeg, is_plain_jpeg
from peclip_fast.data.decoding.video_index import VideoIndex
from peclip_fast.data.decoding.video_scan import begins_group, scan
from peclip_fast.errors import InputError


class _FlawError(InputError):
    """A damaged frame, or one that only seems so as decoding began at a false key frame."""


class VideoFile:
    """A video file, or the part of it from ``start`` to ``end`` seconds.

    Frames are numbered in the order in which they are shown. Groups of pictures (a key frame and
    what builds on it) that hold no wanted frame are passed over without decoding.

    Args:
        path: the file.
        start: first moment in seconds, as players count them.
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
        self._threads = threads
        self._reformatter = VideoReformatter()
        self.index = index or scan(path)
        self._frames = self.index.part(path, start, end)
        self._container, self._stream = open_video(path, threads)
        self._fresh = True

    @property
    def num_frames(self) -> int:
        return len(self._frames)

    def read(self, indices: Sequence[int]) -> NDArray[np.uint8]:
        """Frames as uint8 RGB (T, H, W, 3), as players show them.

        An index that comes again is decoded once.
        """
        numbers = [self._frames[index] for index in indices]
        images = dict(self._images(set(numbers)))
        with named_errors(self._path, "decoding failed"):
            return np.stack([images[number] for number in numbers])

    def some(self, indices: Collection[int]) -> Iterator[tuple[int, NDArray[np.uint8]]]:
        """(index, frame) of some frames, in ascending order; uint8 RGB (H, W, 3).

        As far as the decoder gives them in order, one at a time is in memory.
        """
        first = self._frames.start
        wanted = sorted({first + index for index in indices})
        if wanted:
            for number, image in zip(wanted, self._in_order(wanted), strict=True):
                yield number - first, image

    def frames(self) -> Iterator[NDArray[np.uint8]]:
        """Every frame in order, as uint8 RGB (H, W, 3); one at a time in memory."""
        return self._in_order(self._frames)

    def _in_order(self, numbers: Sequence[int]) -> Iterator[NDArray[np.uint8]]:
        """The frames of ascending numbers."""
        # Where a decoder holds back too few frames, they come in another order than they are shown.
        held: dict[int, NDArray[np.uint8]] = {}
        following = iter(numbers)
        wanted = next(following, -1)
        for number, image in self._images(set(numbers)):
            held[number] = image
            while wanted in held:
                yield held.pop(wanted)
                wanted = next(following, -1)

    def close(self) -> None:
        """Closes the file."""
        self._container.close()

    def _rewound(self) -> tuple[InputContainer, VideoStream]:
        """The file at its first packet: opened anew, as seeking may fail, or end elsewhere."""
        if not self._fresh:
            self._container.close()
            self._container, self._stream = open_video(self._path, self._threads)
        self._fresh = False
        return self._container, self._stream

    def _images(self, wanted: Collection[int]) -> Iterator[tuple[int, NDArray[np.uint8]]]:
        """(number, image) of each wanted frame, as they come out of the decoder.

        Raises:
            InputError: one of them can't be decoded or has another size.
        """
        missing = set(wanted)
        decode = self._decode_jpegs if self._holds_jpegs() else self._decode_video
        with named_errors(self._path, "decoding failed"):
            for number, image in decode(wanted):
                if number in missing:
                    missing.discard(number)
                    yield number, image
                if not missing:
                    return
        raise InputError(
            f"{self._path}: cut short or damaged: frame {min(missing)} of "
            f"{self.index.num_frames} can't be decoded"
        )

    def _holds_jpegs(self) -> bool:
        """Whether every packet is a JPEG, and a frame of square pixels."""
        index = self.index
        plain = index.codec == "mjpeg" and index.geometry.is_square
        return plain and index.packets == index.num_frames

    def _decode_jpegs(self, wanted: Collection[int]) -> Iterator[tuple[int, NDArray[np.uint8]]]:
        """Packets that are JPEG files go to libjpeg-turbo, as the frames of a folder do."""
        geometry = self.index.geometry
        numbers = {self.index.positions[number]: number for number in wanted}
        container, stream = self._rewound()
        for position, packet in enumerate(packets(container, stream)):
            if position not in numbers:
                continue
            image = _jpeg(bytes(packet), geometry.decoded_height, geometry.decoded_width)
            if image is not None:
                yield numbers[position], geometry.upright(image)
                continue
            for frame in stream.codec_context.decode(packet):
                if not frame.is_corrupt:
                    yield numbers[position], self._shown(frame)

    def _decode_video(self, wanted: Collection[int]) -> Iterator[tuple[int, NDArray[np.uint8]]]:
        """Decodes the groups that are needed, or all up to the last where that doesn't do."""
        needed = self.index.needed_groups(wanted)
        every = set(range(max(needed) + 1))
        for groups in (every,) if needed == every else (needed, every):
            try:
                for number, frame in self._decode_groups(wanted, groups):
                    yield number, self._shown(frame)
            except (_FlawError, av.FFmpegError):
                if groups == every:
                    raise

    def _decode_groups(
        self, wanted: Collection[int], needed: Collection[int]
    ) -> Iterator[tuple[int, VideoFrame]]:
        """(number, frame) of wanted frames, from groups of which each is whole.

        Raises:
            _FlawError: a frame is damaged, or a group doesn't begin with a key frame.
        """
        numbers = self.index.numbers
        begun = self.index.first_packet[0]  # there is nowhere else to begin
        for start, frame in self._frames_of(wanted, needed):
            number = -1 if frame.pts is None else numbers.get(frame.pts, -1)
            if number < 0 or (start != begun and number < numbers.get(start, 0)):
                continue  # what is shown before the key frame builds on what wasn't decoded
            if start != begun and not (frame.pts == start and begins_group(frame)):
                raise _FlawError(f"{self._path}: decoding can't begin at frame {number}")
            begun = start
            if frame.is_corrupt:
                raise _FlawError(f"{self._path}: frame {number} is damaged")
            if number in wanted:
                yield number, frame

    def _frames_of(
        self, wanted: Collection[int], needed: Collection[int]
    ) -> Iterator[tuple[int, VideoFrame]]:
        """All frames of some groups, each with the packet where the decoder began.

        A packet's time is its position for the decoder, which hands it on to the frame.
        """
        index = self.index
        kept = {index.positions[number] for number in wanted}
        starts = {packet: group for group, packet in enumerate(index.first_packet)}
        container, stream = self._rewound()
        codec = stream.codec_context
        group, start, last = -1, 0, max(needed)
        for position, packet in enumerate(packets(container, stream)):
            if position in starts:
                group = starts[position]
                if group > last:
                    break
                if group in needed and group - 1 not in needed:
                    start = position
                elif group not in needed and group - 1 in needed:
                    # The frames that the decoder still holds back come out before it starts anew.
                    yield from ((start, frame) for frame in codec.decode(None))
                    codec.flush_buffers()
            if group in needed:
                packet.pts = position
                if index.skips:
                    codec.skip_frame = "DEFAULT" if position in kept else "NONREF"
                yield from ((start, frame) for frame in codec.decode(packet))
        yield from ((start, frame) for frame in codec.decode(None))

    def _shown(self, frame: VideoFrame) -> NDArray[np.uint8]:
        geometry = self.index.geometry
        if (frame.height, frame.width) != (geometry.decoded_height, geometry.decoded_width):
            raise InputError(f"{self._path}: the frame size changes within the clip")
        # One reformatter for all frames: making a new one takes longer than its work.
        return geometry.rgb(frame, self._reformatter)


def _jpeg(packet: bytes, height: int, width: int) -> NDArray[np.uint8] | None:
    """A packet's picture, or None where only FFmpeg knows it: two fields, another range, a flaw."""
    if not is_plain_jpeg(packet) or b"CS=ITU601" in packet[:1024]:
        return None
    try:
        image = decode_plain_jpeg(packet)
    except ValueError:
        return None
    return image if image.shape[:2] == (height, width) else None
