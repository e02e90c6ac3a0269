"""Clips stored as a folder of image files, one per frame."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torchvision.io import ImageReadMode, decode_image
from torchvision.transforms.v2 import functional as transforms

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
        decoded: dict[int, torch.Tensor] = {}
        for index in indices:
            if index not in decoded:
                decoded[index] = self._decode(self._names[index])
        size = decoded[indices[0]].shape[-2:]
        frames = np.empty((len(indices), *size, 3), dtype=np.uint8)
        for row, index in enumerate(indices):
            image = decoded[index]
            if image.shape[-2:] != size:
                image = transforms.resize(image, list(size), antialias=True)
            frames[row] = image.permute(1, 2, 0).numpy()
        return frames

    def close(self) -> None:
        """Nothing stays open between reads."""

    def _decode(self, name: str) -> torch.Tensor:
        path = self._folder / name
        try:
            data = torch.from_numpy(np.fromfile(path, dtype=np.uint8))
            return decode_image(data, ImageReadMode.RGB, apply_exif_orientation=True)
        except (OSError, RuntimeError, ValueError) as error:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise InputError(f"{path}: not a readable image: {reason}") from None
