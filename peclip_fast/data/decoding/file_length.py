"""Whether a file has all of its bytes, as far as its container tells: no decoder notices a cut."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

_OGG_PAGE = 65307  # bytes at most
_ASF_FILE = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")  # file properties object
_RIFF_SLACK = 9  # bytes by which writers of AVI are known to miscount themselves


def is_whole(path: Path, container: str) -> bool | None:
    """Whether the file is as long as it says; None where it doesn't say.

    MPEG-TS, MPEG-PS and bare streams never do.

    Args:
        path: of the file.
        container: FFmpeg's name of the format.

    Raises:
        OSError: it can't be read.
    """
    told = _TOLD.get(container)
    if told is None:
        return None
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(0)
        try:
            return told(file, size)
        except (struct.error, IndexError):  # it ends within a header
            return False


def _unpack(file: BinaryIO, position: int, layout: str) -> tuple[Any, ...]:
    file.seek(position)
    return struct.unpack(layout, file.read(struct.calcsize(layout)))


def _mp4(file: BinaryIO, size: int) -> bool | None:
    """The boxes one after the other; what follows the last one and is no box is let pass."""
    position, found = 0, False
    while position + 8 <= size:
        length, kind = _unpack(file, position, ">I4s")
        if length == 1:
            (length,) = _unpack(file, position + 8, ">Q")
        elif length == 0:
            return None  # up to the end of the file, wherever that is
        if length < 8 or not kind.isalnum():
            return found
        if position + length > size:
            return False
        found = found or kind in (b"moov", b"moof")
        position += length
    return found


def _matroska(file: BinaryIO, size: int) -> bool | None:
    """EBML's header, then the segment; live recordings have one of unknown length."""
    position = 0
    while position < size:
        file.seek(position)
        head = file.read(16)
        id_bytes = 9 - head[0].bit_length()
        length_bytes = 9 - head[id_bytes].bit_length()
        start = id_bytes + length_bytes
        unknown = (1 << 7 * length_bytes) - 1
        length = int.from_bytes(head[id_bytes:start], "big") & unknown
        if length == unknown:
            return None
        if position + start + length > size:
            return False
        if head[:4] == b"\x18\x53\x80\x67":
            return True
        position += start + length
    return False


def _avi(file: BinaryIO, size: int) -> bool | None:
    """RIFF's chunks; a large file has several."""
    position = 0
    while position + 12 <= size:
        name, length = _unpack(file, position, "<4sI")
        if name != b"RIFF":
            return True
        if length == 0:
            return None  # a recorder that was stopped
        position += 8 + length + length % 2
        if position > size + _RIFF_SLACK:
            return False
    return True


def _flv(file: BinaryIO, size: int) -> bool | None:
    """The last tag: behind each stands its length. A cut between two tags stays unseen."""
    (length,) = _unpack(file, size - 4, ">I")
    if not 11 <= length <= size - 13:
        return False
    _, high, low = _unpack(file, size - 4 - length, ">BBH")
    return None if (high << 16 | low) + 11 == length else False


def _ogg(file: BinaryIO, size: int) -> bool | None:
    """The last page: whole, and marked as the end of its stream by most writers."""
    begin = max(0, size - _OGG_PAGE)
    file.seek(begin)
    data = file.read()
    page = data.rfind(b"OggS")
    if page < 0:
        return False
    lengths = data[page + 27 : page + 27 + data[page + 26]]
    if page + 27 + len(lengths) + sum(lengths) != len(data):
        return False
    return True if data[page + 5] & 4 else None


def _gif(file: BinaryIO, size: int) -> bool | None:
    file.seek(max(0, size - 1024))
    return file.read().rstrip(b"\0").endswith(b";")


def _asf(file: BinaryIO, size: int) -> bool | None:
    place = file.read(1 << 16).find(_ASF_FILE)
    if place < 0:
        return None
    (length,) = _unpack(file, place + 40, "<Q")
    return length <= size if length else None


_TOLD: dict[str, Callable[[BinaryIO, int], bool | None]] = {
    "mov,mp4,m4a,3gp,3g2,mj2": _mp4,
    "matroska,webm": _matroska,
    "avi": _avi,
    "flv": _flv,
    "ogg": _ogg,
    "gif": _gif,
    "asf": _asf,
}
