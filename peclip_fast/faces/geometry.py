"""Faces in a frame: boxes, turned squares, and what they share."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from peclip_fast.faces.box import Box

_OVERLAP = 0.3  # two boxes that share more of their union are one face

Array = NDArray[np.float64]
Frame = NDArray[np.uint8]


class Face(NamedTuple):
    """A detected face, in pixels of the frame.

    Args:
        box: (4,) x and y of the centre, width, height.
        eyes: (2, 2) x and y of the eye on the viewer's left, and of the other.
        score: probability that it is one.
    """

    box: Array
    eyes: Array
    score: float

    @property
    def corner(self) -> Box:
        """The box by its upper left corner, as tables have it."""
        x, y, width, height = self.box.tolist()
        return Box(x - width / 2, y - height / 2, width, height)


class Rectangle(NamedTuple):
    """A turned square of the frame: centre and side in pixels, angle in radians, clockwise."""

    x: float
    y: float
    side: float
    angle: float

    def to_frame(self, points: Array) -> Array:
        """Points (n, 2) in units of the side, from its upper left corner, in pixels."""
        return (points - 0.5) * self.side @ self._axes() + (self.x, self.y)

    def from_frame(self, points: Array) -> Array:
        """The other way."""
        return (points - (self.x, self.y)) @ self._axes().T / self.side + 0.5

    def _axes(self) -> Array:
        """To the right and down, in the frame: (2, 2), each of length 1."""
        sine, cosine = np.sin(self.angle), np.cos(self.angle)
        return np.array([[cosine, sine], [-sine, cosine]])

    def cut(self, frame: Frame, side: int) -> Frame:
        """The square as an image uint8 (side, side, 3); what is outside the frame is black."""
        corners = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
        origin, right, down = self.to_frame(corners)
        across, along = (right - origin) / side, (down - origin) / side
        affine = (across[0], along[0], origin[0], across[1], along[1], origin[1])
        image = Image.fromarray(frame)
        cut = image.transform(
            (side, side), Image.Transform.AFFINE, affine, Image.Resampling.BILINEAR
        )
        return np.asarray(cut)


def merged(faces: Iterable[Face]) -> list[Face]:
    """One face for all that overlap, their mean weighted by the scores; the surest first."""
    left = sorted(faces, key=lambda face: -face.score)
    found = []
    while left:
        shared = overlaps(left[0].box[None], np.stack([face.box for face in left]))[0]
        shared[0] = 1.0  # with itself, however small it is
        same = [f for f, share in zip(left, shared, strict=True) if share > _OVERLAP]
        weights = [face.score for face in same]
        found.append(
            Face(
                np.average([face.box for face in same], axis=0, weights=weights),
                np.average([face.eyes for face in same], axis=0, weights=weights),
                left[0].score,
            )
        )
        left = [f for f, share in zip(left, shared, strict=True) if share <= _OVERLAP]
    return found


def overlap(first: Array, second: Array) -> float:
    """Intersection over union of two boxes (4,): centre, width, height."""
    return float(overlaps(first[None], second[None])[0, 0])


def overlaps(first: Array, second: Array) -> Array:
    """Intersection over union (n, m) of boxes (n, 4) and (m, 4): centre, width, height."""
    one, other = first[:, None], second[None]
    low = np.maximum(one[..., :2] - one[..., 2:] / 2, other[..., :2] - other[..., 2:] / 2)
    high = np.minimum(one[..., :2] + one[..., 2:] / 2, other[..., :2] + other[..., 2:] / 2)
    common = np.maximum(high - low, 0).prod(-1)
    union = one[..., 2:].prod(-1) + other[..., 2:].prod(-1) - common
    shared: Array = np.where(union > 0, common / np.where(union > 0, union, 1.0), 0.0)
    return shared


def roll(eyes: Array) -> float:
    """By how much a face is turned in the picture, in radians, clockwise, from its eyes (2, 2)."""
    right, down = eyes[1] - eyes[0]
    return float(np.arctan2(down, right))


def box(points: Array) -> Array:
    """The box (4,) around landmarks: x and y of the centre, width, height."""
    low, high = points.min(0), points.max(0)
    return np.concatenate([(low + high) / 2, high - low])


def letterbox(frame: Frame, side: int) -> Frame:
    """The whole frame in the middle of a black square, antialiased."""
    height, width = frame.shape[:2]
    scale = side / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    # Halved with plain means as far as that leaves twice the pixels: a third of the time.
    image = Image.fromarray(frame).resize(size, Image.Resampling.BILINEAR, reducing_gap=2.0)
    square = Image.new("RGB", (side, side))
    square.paste(image, ((side - size[0]) // 2, (side - size[1]) // 2))
    return np.asarray(square)
