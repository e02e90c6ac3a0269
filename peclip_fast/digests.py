"""A digest within each file that is read again, so that damage is noticed before it does any.

It is SHA-256 of all bytes of the file but its own, which stand after LABEL: in the metadata of
safetensors, and in the comment that ends a ZIP file, as those of torch and NumPy are.
"""

from __future__ import annotations

import hashlib
import io
from pathlib import Path

from peclip_fast.errors import InputError

LABEL = b"peclip-fast sha256 "
LENGTH = 64  # of the digest, in hexadecimal
BLANK = LABEL + b"0" * LENGTH  # what a file is made with, and seal() completes
_NO_COMMENT = b"\0\0"  # its length, at the end of a ZIP file


def seal(data: memoryview, place: int) -> None:
    """Put the digest of a file into it.

    Args:
        data: the file, which is changed.
        place: where the digest stands.
    """
    data[place : place + LENGTH] = _digest(data, place)


def check(path: Path, data: memoryview, place: int) -> None:
    """Raise InputError, which names the file, unless its bytes are those that were sealed."""
    if bytes(data[place : place + LENGTH]) != _digest(data, place):
        raise InputError(f"{path}: damaged: its bytes aren't those that were written")


def seal_zip(file: io.BytesIO) -> None:
    """Give a whole ZIP file a comment with its digest."""
    if file.getbuffer()[-len(_NO_COMMENT) :] != _NO_COMMENT:
        raise ValueError("expected a ZIP file without a comment")
    file.seek(-len(_NO_COMMENT), io.SEEK_END)
    file.write(len(BLANK).to_bytes(2, "little") + BLANK)
    seal(file.getbuffer(), len(file.getbuffer()) - LENGTH)


def read_zip(path: Path) -> io.BytesIO:
    """A file that seal_zip() completed, once it is known to be whole.

    Raises:
        InputError: it is damaged, or has no digest; names the file.
    """
    data = path.read_bytes()
    place = len(data) - LENGTH
    if data.endswith(LABEL, 0, max(place, 0)):
        check(path, memoryview(data), place)
        return io.BytesIO(data)
    raise without_digest(path)


def without_digest(path: Path) -> InputError:
    """The error for a file that should have a digest."""
    return InputError(f"{path}: has no digest: it is damaged, or another program wrote it")


def _digest(data: memoryview, place: int) -> bytes:
    digest = hashlib.sha256(data[:place])
    digest.update(data[place + LENGTH :])
    return digest.hexdigest().encode()
