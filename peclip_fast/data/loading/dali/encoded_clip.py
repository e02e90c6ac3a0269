"""A clip as it lies on disk, with all that decoding it elsewhere takes."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from peclip_fast.data.decoding.clip_source import locate_record
from peclip_fast.data.decoding.video_index import VideoIndex
from peclip_fast.data.loading.dataset import ClipDataset, ClipKey
from peclip_fast.data.randomness import derived_generator
from peclip_fast.data.transforms.augment import ClipTransform
from peclip_fast.errors import InputError


class OtherDecoderError(InputError):
    """A video that DALI doesn't take, and PyAV does: no fault of the clip."""


@dataclass(frozen=True)
class EncodedFile:
    """A video file with the numbers of the wanted frames, or an image with none.

    Args:
        path: of the file.
        data: uint8 (bytes,), the whole file.
        frames: in the order in which they are shown, counted from the start of the file.
    """

    path: Path
    data: NDArray[np.uint8]
    frames: tuple[int, ...] = ()


@dataclass(frozen=True)
class EncodedClip:
    """The files that hold the T wanted frames of a clip, and what is to be done to these.

    Args:
        index: of the clip in its dataset.
        label: of the clip.
        files: one video, or T images.
        transform: for frames of ``height`` and ``width``.
        height: of the frames as they are shown, in pixels.
        width: of the frames as they are shown.
        turns: quarter turns counter-clockwise that bring a decoded frame upright.
    """

    index: int
    label: int
    files: tuple[EncodedFile, ...]
    transform: ClipTransform
    height: int
    width: int
    turns: int = 0

    @property
    def is_video(self) -> bool:
        """Whether it is one video, not images."""
        return bool(self.files[0].frames)

    def stored_crop(self) -> tuple[float, float, float, float]:
        """Top, left, bottom, right of the crop in frames as they are stored, in [0, 1]."""
        crop = self.transform
        top, bottom = crop.top / self.height, (crop.top + crop.height) / self.height
        left, right = crop.left / self.width, (crop.left + crop.width) / self.width
        for _ in range(self.turns):
            top, left, bottom, right = left, 1 - bottom, right, 1 - top
        return top, left, bottom, right


def read_encoded(dataset: ClipDataset, key: ClipKey, codecs: Collection[str]) -> EncodedClip:
    """Reads what ``dataset.load`` would decode, with the same draws.

    Args:
        dataset: of the clip.
        key: epoch and index.
        codecs: FFmpeg's names of those that will be decoded.

    Raises:
        InputError: the clip can't be read; names the file. OtherDecoderError is one.
    """
    epoch, index = key
    record = dataset.records[index]
    generator = derived_generator(dataset.seed, epoch, index)
    facts, part = locate_record(record)
    frames = tuple(part[k] for k in dataset.draw_frames(len(part), generator))
    transform = dataset.draw_transform(facts.height, facts.width, generator)
    turns = 0
    files: tuple[EncodedFile, ...]
    if isinstance(facts, VideoIndex):
        _check(record.path, facts, codecs)
        files = (EncodedFile(record.path, _read(record.path), frames),)
        turns = facts.geometry.turns
    else:
        paths = [record.path / facts.names[frame] for frame in frames]
        images = {path: EncodedFile(path, _read(path)) for path in dict.fromkeys(paths)}
        files = tuple(images[path] for path in paths)
    return EncodedClip(index, record.label, files, transform, facts.height, facts.width, turns)


def _check(path: Path, index: VideoIndex, codecs: Collection[str]) -> None:
    if index.codec not in codecs:
        reason = f"{index.codec} video, and DALI takes {', '.join(sorted(codecs))} here"
    # DALI counts the packets that have a time, from 0 on, in the order of the times.
    elif not index.timed or index.times[0] < 0 or index.packets != index.num_frames:
        reason = "its packets are not its frames, by whose times DALI would count them"
    elif index.geometry.mirrored or not index.geometry.is_square:
        reason = "its frames are to be mirrored, or stretched to square pixels"
    else:
        return
    raise OtherDecoderError(f"{path}: {reason}: use --data.decoder pyav")


def _read(path: Path) -> NDArray[np.uint8]:
    try:
        return np.fromfile(path, np.uint8)
    except OSError as error:
        raise InputError(f"{path}: can't be read: {error.strerror}") from None
