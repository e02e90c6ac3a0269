"""From a decoded frame to what a player shows: square pixels, mirrored and turned as told."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from av.video.frame import VideoFrame
from av.video.reformatter import Interpolation, VideoReformatter
from numpy.typing import NDArray

from peclip_fast.data.decoding.ffmpeg import MOST_PIXELS
from peclip_fast.errors import InputError

_WIDEST = 10  # times as wide as high, or as high as wide: pixels beyond are a damaged header
_SLANT = 1.0  # degrees off a quarter turn that players overlook


@dataclass(frozen=True)
class Geometry:
    """How frames of one size are shown.

    Args:
        decoded_height: of a frame as the decoder gives it, in pixels.
        decoded_width: of a frame as the decoder gives it.
        square_width: after its pixels were made square; the height stays.
        mirrored: left and right are exchanged, before it is turned.
        turns: quarter turns counter-clockwise.
    """

    decoded_height: int
    decoded_width: int
    square_width: int
    mirrored: bool = False
    turns: int = 0

    @property
    def height(self) -> int:
        """Of the frames as they are shown, in pixels."""
        return self.square_width if self.turns % 2 else self.decoded_height

    @property
    def width(self) -> int:
        """Of the frames as they are shown, in pixels."""
        return self.decoded_height if self.turns % 2 else self.square_width

    @property
    def is_square(self) -> bool:
        """Whether pixels are square as decoded."""
        return self.square_width == self.decoded_width

    def rgb(self, frame: VideoFrame, reformatter: VideoReformatter) -> NDArray[np.uint8]:
        """A frame of this size as it is shown, uint8 RGB (H, W, 3)."""
        scaling = (
            {}
            if self.is_square
            else {
                "width": self.square_width,
                "height": self.decoded_height,
                "interpolation": Interpolation.BICUBIC,
            }
        )
        shown = reformatter.reformat(frame, format="rgb24", threads=1, **scaling)
        return self.upright(shown.to_ndarray().astype(np.uint8, copy=False))

    def upright(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """A picture of square pixels, (decoded_height, square_width, 3), mirrored and turned."""
        if self.mirrored:
            image = image[:, ::-1]
        return np.ascontiguousarray(np.rot90(image, self.turns) if self.turns else image)


def geometry_of(
    path: Path, height: int, width: int, aspect: Fraction | None, matrix: bytes | None
) -> Geometry:
    """The geometry of a file's frames.

    Args:
        path: of the file, for errors.
        height: of a decoded frame.
        width: of a decoded frame.
        aspect: width of a pixel by its height; None or zero where the file doesn't tell.
        matrix: FFmpeg's display matrix, nine int32; None where the file has none.

    Raises:
        InputError: sizes that no video has, or frames that are turned by an angle between.
    """
    if not 0 < height * width <= MOST_PIXELS:
        raise InputError(f"{path}: frames of {width}x{height} pixels: damaged, or too large")
    aspect = aspect or Fraction(1)
    if not Fraction(1, _WIDEST) <= aspect <= _WIDEST:
        raise InputError(f"{path}: pixels that are {float(aspect):g} times as wide as high")
    square = max(1, round(width * aspect))
    mirrored, angle = (False, 0.0) if matrix is None else _orientation(matrix)
    turns = round(angle / 90)
    if abs(angle - 90 * turns) > _SLANT:
        raise InputError(f"{path}: turned by {abs(angle):.0f} degrees: expected quarter turns")
    return Geometry(height, width, square, mirrored, turns % 4)


def display_matrix(frame: VideoFrame) -> bytes | None:
    """What goes along with a frame from the container or the stream."""
    data: Any = frame.side_data.get("DISPLAYMATRIX")
    return None if data is None else bytes(data)


def _orientation(matrix: bytes) -> tuple[bool, float]:
    """Whether mirrored, and by how many degrees counter-clockwise turned thereafter.

    Players overlook a matrix that would make a line of the picture.
    """
    # A point (x, y), y downwards, is shown at (a x + c y, b x + d y).
    a, b, _, c, d = np.frombuffer(matrix, np.int32)[:5].astype(float)
    determinant = a * d - b * c
    if determinant == 0:
        return False, 0.0
    mirrored = bool(determinant < 0)
    if mirrored:
        a, b = -a, -b
    return mirrored, -math.degrees(math.atan2(b, a))
