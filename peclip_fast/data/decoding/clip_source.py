"""One interface to the frames of a clip, whatever holds them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from peclip_fast.data.decoding.clip_index import Index, clip_index
from peclip_fast.data.decoding.frame_folder import FolderIndex, FrameFolder
from peclip_fast.data.decoding.packed_file import check_packed
from peclip_fast.data.decoding.stamps import clip_stamp
from peclip_fast.data.decoding.video_file import VideoFile
from peclip_fast.data.decoding.video_index import VideoIndex
from peclip_fast.data.records import ClipRecord
from peclip_fast.errors import InputError

Frames = NDArray[np.uint8]


class ClipSource(Protocol):
    """An opened clip. It belongs to one thread; close it after use."""

    @property
    def index(self) -> Index:
        """What is known of the whole folder or file."""

    @property
    def num_frames(self) -> int:
        """Frames that can be read, at least 1."""

    def read(self, indices: Sequence[int]) -> Frames:
        """The frames of the given indices, in that order; repeats are allowed.

        Args:
            indices: each in ``[0, num_frames)``.

        Returns:
            uint8 RGB, shape (T, H, W, 3).

        Raises:
            InputError: a frame can't be decoded; names the file.
        """

    def frames(self) -> Iterator[Frames]:
        """Every frame in order, uint8 RGB (H, W, 3), one at a time in memory.

        Raises:
            InputError: a frame can't be decoded; names the file.
        """

    def close(self) -> None:
        """Gives the file back."""


def open_clip_source(
    path: str | Path,
    start: float | None = None,
    end: float | None = None,
    threads: int = 1,
) -> ClipSource:
    """Opens a folder of frames or a video file; what it finds out is kept in the clip index.

    Args:
        path: the folder or file.
        start: first moment in seconds (only of video files).
        end: end in seconds, exclusive (only of video files).
        threads: decoder threads; loader workers use 1, 0 lets the decoder choose.

    Raises:
        InputError: nothing is there, or it holds no frame; names the path and what is wrong.
    """
    path = Path(path)
    stamp = _stamp(path)
    known = clip_index().get(path, stamp)
    source: ClipSource
    if path.is_dir():
        _refuse_times(path, start, end)
        source = FrameFolder(path, known if isinstance(known, FolderIndex) else None)
    else:
        index = known if isinstance(known, VideoIndex) else None
        source = VideoFile(path, start, end, threads, index)
    if known is None:
        try:
            if isinstance(source, VideoFile) and source.index.codec == "mjpeg":
                check_packed(path)
        except InputError:
            source.close()
            raise
        clip_index().put(path, stamp, source.index)
    return source


def open_record(record: ClipRecord) -> ClipSource:
    """Opens the clip of a record and checks its frame count against the list's.

    Raises:
        InputError: as ``open_clip_source``, or the counts differ; names the record's list line.
    """
    with _named(record):
        source = open_clip_source(record.path, record.start, record.end)
    try:
        _check_count(record, source.num_frames)
    except InputError:
        source.close()
        raise
    return source


def locate_record(record: ClipRecord) -> tuple[Index, range]:
    """What is known of a record's folder or file, and which of its frames are the clip.

    Where the clip index knows it, nothing is opened.

    Raises:
        InputError: as ``open_record``.
    """
    path = Path(record.path)
    with _named(record):
        index = clip_index().get(path, _stamp(path))
        if index is None:
            source = open_clip_source(path, record.start, record.end)
            source.close()
            index = source.index
        if isinstance(index, VideoIndex):
            frames = index.part(path, record.start, record.end)
        else:
            _refuse_times(path, record.start, record.end)
            frames = range(index.num_frames)
    _check_count(record, len(frames))
    return index, frames


def _stamp(path: Path) -> str:
    """``clip_stamp``, where a path that can't be looked at is a bad clip."""
    try:
        return clip_stamp(path)
    except (FileNotFoundError, NotADirectoryError):
        raise InputError(f"{path}: no such video file or frame folder") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"{path}: can't be read: {reason}") from None


@contextlib.contextmanager
def _named(record: ClipRecord) -> Iterator[None]:
    """Adds the record's list line to errors."""
    try:
        yield
    except InputError as error:
        if record.source in ("", str(record.path)):
            raise
        raise InputError(f"{error} (from {record.source})") from None


def _check_count(record: ClipRecord, count: int) -> None:
    if record.num_frames not in (None, count):
        raise InputError(
            f"{record.path}: {count} frames on disk, "
            f"but {record.source or 'its record'} says {record.num_frames}"
        )


def _refuse_times(folder: Path, start: float | None, end: float | None) -> None:
    if start is not None or end is not None:
        raise InputError(f"{folder}: start and end need a video file, this is a frame folder")
