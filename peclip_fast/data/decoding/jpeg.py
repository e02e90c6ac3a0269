"""JPEG files, which nearly all frames are that aren't in a video codec, by libjpeg-turbo."""

from __future__ import annotations

import numpy as np
import simplejpeg
from numpy.typing import NDArray

_HEAD = 64  # bytes within which the markers stand that make a JPEG more than a plain one


def is_plain_jpeg(data: bytes) -> bool:
    """Whether this is a JPEG whose pixels stand as they are stored: not turned, not CMYK."""
    head = data[:_HEAD]
    return head.startswith(b"\xff\xd8") and b"Exif" not in head and b"Adobe" not in head


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
