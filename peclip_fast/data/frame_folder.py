"""Clips stored as a folder of image files, one per frame."""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import Image, ImageOps

from peclip_fast.data.layout import IMAGE_SUFFIXES, natural_key
from peclip_fast.errors import InputError


class FrameFolder:
    """A clip whose frames are the images of a folder, in the order of their numbers.

    Frames of another size than the first one read (some face croppers write them) are resized to
    it, so that a clip is one array.

    Raises:
        InputError: the folder can't be listed or holds no image.
    """

    def __init__(self, path: Path) -> None:
        try:
            names = os.listdir(path)
        except OSError as error:
            raise InputError(f"{path}: can't be listed: {error.strerror}") from None
        images = [
            name
            for name in names
            if os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES and not name.startswith(".")
        ]
        if not images:
            kinds = " ".join(sorted(IMAGE_SUFFIXES))
            raise InputError(f"{path}: empty folder: expected frames ({kinds})")
        self._folder = path
        self._names = sorted(images, key=natural_key)

    @property
    def num_frames(self) -> int:
        return len(self._names)

    def read(self, indices: Sequence[int]) -> NDArray[np.uint8]:
        """Frames as uint8 RGB (T, H, W, 3); an index that comes again is decoded once."""
        images = {index: self._decode(self._names[index]) for index in set(indices)}
        height, width = images[indices[0]].shape[:2]
        for index, image in images.items():
            if image.shape[:2] != (height, width):
                resized = Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR)
                images[index] = np.asarray(resized)
        return np.stack([images[index] for index in indices])

    def close(self) -> None:
        """Nothing stays open between reads."""

    def _decode(self, name: str) -> NDArray[np.uint8]:
        path = self._folder / name
        try:
            return decode_image(path.read_bytes())
        except (OSError, ValueError, MemoryError, Image.DecompressionBombError) as error:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise InputError(f"{path}: not a readable image: {reason}") from None


def decode_image(data: bytes) -> NDArray[np.uint8]:
    """One image as uint8 RGB (H, W, 3), upright.

    Plain JPEG, which is nearly every frame there is, goes straight to libjpeg-turbo, in less than
    half of Pillow's time and with the same pixels; everything else goes to Pillow.

    Raises:
        OSError, ValueError: the data is cut short or no image.
    """
    if data.startswith(b"\xff\xd8") and b"Exif" not in data[:64] and b"Adobe" not in data[:64]:
        return simplejpeg.decode_jpeg(data, colorspace="RGB")
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
