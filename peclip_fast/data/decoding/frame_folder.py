"""Clips stored as a folder of image files, one per frame."""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image

from peclip_fast.data.decoding.jpeg import decode_plain_jpeg, is_plain_jpeg
from peclip_fast.data.decoding.stamps import clip_stamp
from peclip_fast.data.media import frame_names
from peclip_fast.errors import InputError

# How a picture is brought upright, by EXIF's number.
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_SIDEWAYS = (5, 6, 7, 8)
_NO_EXIF = (SyntaxError, ValueError, KeyError, TypeError, OSError, struct.error, ArithmeticError)
_NO_IMAGE = (OSError, ValueError, MemoryError, SyntaxError, Image.DecompressionBombError)


@dataclass(frozen=True)
class FolderIndex:
    """What a look into a frame folder tells.

    Args:
        names: of the images, in the order of their numbers.
        height: of the first image that can be read, upright, in pixels.
        width: of the same image.
        stamps: of the images that were looked at for height and width: the first, unless it can't
            be read, and so on.
    """

    names: tuple[str, ...]
    height: int
    width: int
    stamps: tuple[str, ...] = ()

    def holds(self, path: Path) -> bool:
        """Whether height and width are still those of the folder, if it has the same names."""
        try:
            found = tuple(clip_stamp(path / name) for name in self.names[: len(self.stamps)])
        except OSError:
            return False
        return found == self.stamps

    @property
    def num_frames(self) -> int:
        """Images in the folder."""
        return len(self.names)


class FrameFolder:
    """A clip whose frames are the images of a folder, in the order of their numbers.

    Frames of another size than the folder's first one (some face croppers write them) are resized
    to it, so that a clip is one array.

    Args:
        path: the folder.
        index: of this folder where it is known, which saves a look into it.

    Raises:
        InputError: the folder can't be listed or holds no image that can be read.
    """

    def __init__(self, path: Path, index: FolderIndex | None = None) -> None:
        self.path = path
        self.index = index or _build_index(path)

    @property
    def num_frames(self) -> int:
        return self.index.num_frames

    def read(self, indices: Sequence[int]) -> NDArray[np.uint8]:
        """Frames as uint8 RGB (T, H, W, 3); an index that comes again is decoded once."""
        images = {index: self._decode(self.index.names[index]) for index in set(indices)}
        return np.stack([self._resized(images[index]) for index in indices])

    def frames(self) -> Iterator[NDArray[np.uint8]]:
        """Every frame in order, as uint8 RGB (H, W, 3); one at a time in memory."""
        for name in self.index.names:
            yield self._resized(self._decode(name))

    def close(self) -> None:
        """Nothing stays open between reads."""

    def _decode(self, name: str) -> NDArray[np.uint8]:
        path = self.path / name
        try:
            return decode_image(path.read_bytes())
        except _NO_IMAGE as error:
            raise _not_readable(path, error) from None

    def _resized(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        height, width = self.index.height, self.index.width
        if image.shape[:2] == (height, width):
            return image
        return np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR))


def _build_index(path: Path) -> FolderIndex:
    images = frame_names(path)
    stamps: list[str] = []
    failures = []
    for name in images:
        try:
            stamps.append(clip_stamp(path / name))
            height, width = _size(path / name)
        except _NO_IMAGE as error:
            failures.append(_not_readable(path / name, error))
        else:
            return FolderIndex(tuple(images), height, width, tuple(stamps))
    raise failures[0]


def _size(path: Path) -> tuple[int, int]:
    """Height and width from an image's header, upright."""
    with Image.open(path) as image:
        sideways = _orientation(image) in _SIDEWAYS
        return image.size if sideways else (image.height, image.width)


def _orientation(image: Image.Image) -> int:
    """EXIF's number of how a picture is held, 1 to 8; 1 is upright, as where EXIF is damaged."""
    try:
        value = image.getexif().get(ExifTags.Base.Orientation, 1)
    except _NO_EXIF:
        return 1
    return value if isinstance(value, int) and value in _TURNS else 1


def _not_readable(path: Path, error: BaseException) -> InputError:
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    return InputError(f"{path}: not a readable image: {reason}")


def decode_image(data: bytes) -> NDArray[np.uint8]:
    """One image as uint8 RGB (H, W, 3), upright.

    Plain JPEG goes straight to libjpeg-turbo, everything else to Pillow.

    Raises:
        OSError, ValueError: the data is cut short or no image.
    """
    if is_plain_jpeg(data):
        return decode_plain_jpeg(data)
    with Image.open(io.BytesIO(data)) as image:
        image.load()  # what follows a PNG file's pixels as well
        turn = _TURNS.get(_orientation(image))
        upright = image if turn is None else image.transpose(turn)
        if upright.mode.startswith("I;16"):  # Pillow's own conversion cuts 16 bits off at 255
            upright = Image.fromarray((np.asarray(upright) >> 8).astype(np.uint8))
        return np.asarray(upright.convert("RGB"))
