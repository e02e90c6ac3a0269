"""JPEG files, which nearly all frames are that aren't in a video codec, by libjpeg-turbo."""

from __future__ import annotations

import numpy as np
import simplejpeg
from numpy.typing import NDArray

_SCAN, _FRAMES = 0xDA, frozenset((0xC0, 0xC1, 0xC2))
_SAYS_MORE = frozenset((0xE1, 0xEE))  # APP1: Exif and XMP, which turn; Adobe's APP14: its colours


def is_plain_jpeg(data: bytes) -> bool:
    """Whether this is a JPEG whose pixels stand as they are stored: not turned, not CMYK.

    The header is read segment by segment up to the scan, as what turns a picture may stand anywhere
    in it. A header that is cut short or damaged isn't plain.
    """
    if not data.startswith(b"\xff\xd8"):
        return False
    at, end = 2, len(data) - 4
    while at < end and data[at] == 0xFF:
        marker = data[at + 1]
        if marker == 0xFF:  # padding
            at += 1
        elif marker == _SCAN:
            return True
        elif marker in _SAYS_MORE or (marker in _FRAMES and data[at + 9 : at + 10] > b"\x03"):
            return False
        else:
            at += 2 + (data[at + 2] << 8 | data[at + 3])
    return False


def decode_plain_jpeg(data: bytes) -> NDArray[np.uint8]:
    """A plain JPEG as uint8 RGB (H, W, 3), in less than half of Pillow's time, the same pixels.

    Raises:
        ValueError: the data is cut short or damaged.
    """
    image: NDArray[np.uint8] = simplejpeg.decode_jpeg(data, colorspace="RGB")
    return image


def encode_jpeg(image: NDArray[np.uint8], quality: int) -> bytes:
    """uint8 RGB (H, W, 3) as a plain JPEG with colours at half the resolution, as in video."""
    data: bytes = simplejpeg.encode_jpeg(
        np.ascontiguousarray(image), quality=quality, colorsubsampling="420"
    )
    return data
