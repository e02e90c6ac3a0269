"""468 landmarks of the largest face in each frame: BlazeFace finds it, FaceMesh measures it.

The geometry of both models is that of their model cards (Bazarevsky et al. 2019, Kartynnik et al.
2019).
"""

from __future__ import annotations

from collections.abc import Iterable
from importlib import metadata
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from peclip_fast.data.cues.regions import POINTS
from peclip_fast.faces.models import DETECTOR, MESH, WHEEL, FaceModel, model_file

SURE = 0.5  # least probability of a face, of both models
_OVERLAP = 0.3  # two boxes that share more of their union are one face
_STAYS = 2.0  # as many times as large counts the face that was taken in the frame before
_MARGIN = 1.5  # side of FaceMesh's crop over the longer side of the box
_EYES = (33, 263)  # landmarks: the outer corner of the eye on the viewer's left, of the other
_GRIDS = ((16, 2), (32, 6))  # BlazeFace of 256 px: pixels between anchors, anchors at each place
_VALUES = 16  # of an anchor: x, y, width, height, six points

Array = NDArray[np.float64]


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

    def cut(self, frame: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
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


class LandmarkModel:
    """Both models, opened. It belongs to one process.

    Raises:
        InputError: the models or their interpreter are not installed.
    """

    @staticmethod
    def origin() -> str:
        """Which models, and of which release."""
        model_file(DETECTOR)
        return f"BlazeFace and FaceMesh of {WHEEL} {metadata.version(WHEEL)}"

    def __init__(self) -> None:
        self._detector = FaceModel(model_file(DETECTOR))
        self._mesh = FaceModel(model_file(MESH))
        self._anchors = anchors(self._detector.side)

    def detect(self, frame: NDArray[np.uint8]) -> list[Face]:
        """The faces in a frame uint8 RGB (H, W, 3), the surest first."""
        height, width = frame.shape[:2]
        whole = Rectangle(width / 2, height / 2, max(height, width), 0.0)
        image = _letterbox(frame, self._detector.side)
        count = len(self._anchors)
        outputs = self._detector.run(image.astype(np.float32) / 127.5 - 1)
        scores = 1 / (1 + np.exp(-outputs[count].astype(np.float64).clip(-50, 50)))
        likely = np.flatnonzero(scores > SURE)
        raw = outputs[count * _VALUES].reshape(count, _VALUES)[likely].astype(np.float64)
        places = raw.reshape(-1, _VALUES // 2, 2) / self._detector.side
        places[:, [0, *range(2, _VALUES // 2)]] += self._anchors[likely, None]
        return merged(
            [
                Face(
                    np.concatenate([whole.to_frame(place[:1])[0], place[1] * whole.side]),
                    whole.to_frame(place[2:4]),
                    float(score),
                )
                for place, score in zip(places, scores[likely], strict=True)
            ]
        )

    def measure(self, frame: NDArray[np.uint8], where: Rectangle) -> Array | None:
        """The landmarks (468, 2) in pixels of the face in a rectangle; None if there is none."""
        side = self._mesh.side
        outputs = self._mesh.run(where.cut(frame, side).astype(np.float32) / 255.0)
        if outputs[1][0] < np.log(SURE / (1 - SURE)):  # it comes before the sigmoid
            return None
        points = outputs[POINTS * 3].reshape(POINTS, 3)[:, :2].astype(np.float64)
        return where.to_frame(points / side)

    def landmarks(self, frame: NDArray[np.uint8], before: Array | None = None) -> Array | None:
        """The landmarks (468, 2), x and y in pixels, of the largest face; None without one.

        Args:
            frame: uint8 RGB (H, W, 3).
            before: of a face in this frame or a former one. Another must be twice as large.
        """
        former = None if before is None else box(before)

        def weight(face: Face) -> float:
            same = former is not None and overlap(face.box, former) > _OVERLAP
            return float(np.prod(face.box[2:])) * (_STAYS if same else 1)

        for face in sorted(self.detect(frame), key=weight, reverse=True):
            points = self.measure(frame, rectangle(face))
            if points is not None:
                return points
        return None


def anchors(side: int) -> Array:
    """Centres (n, 2) of BlazeFace's anchors, x and y in units of the image's side."""
    grids = []
    for step, repeats in _GRIDS:
        centres = (np.arange(side // step) + 0.5) * step / side
        y, x = np.meshgrid(centres, centres, indexing="ij")
        grids.append(np.repeat(np.stack([x.ravel(), y.ravel()], 1), repeats, axis=0))
    return np.concatenate(grids)


def merged(faces: Iterable[Face]) -> list[Face]:
    """One face for all that overlap, their mean weighted by the scores; the surest first."""
    left = sorted(faces, key=lambda face: -face.score)
    found = []
    while left:
        shared = [overlap(left[0].box, face.box) for face in left]
        same = [f for f, share in zip(left, shared, strict=True) if share > _OVERLAP]
        weights = [face.score for face in same]
        found.append(
            Face(
                np.average([face.box for face in same], axis=0, weights=weights),
                np.average([face.eyes for face in same], axis=0, weights=weights),
                left[0].score,
            )
        )
        left = [f for f, share in zip(left[1:], shared[1:], strict=True) if share <= _OVERLAP]
    return found


def overlap(first: Array, second: Array) -> float:
    """Intersection over union of two boxes (4,): centre, width, height."""
    low = np.maximum(first[:2] - first[2:] / 2, second[:2] - second[2:] / 2)
    high = np.minimum(first[:2] + first[2:] / 2, second[:2] + second[2:] / 2)
    common = float(np.prod(np.maximum(high - low, 0)))
    union = float(np.prod(first[2:]) + np.prod(second[2:])) - common
    return common / union if union > 0 else 0.0


def rectangle(face: Face) -> Rectangle:
    """Where FaceMesh looks: the box, larger, turned so that the eyes are level."""
    right, down = face.eyes[1] - face.eyes[0]
    side = _MARGIN * float(max(face.box[2:]))
    return Rectangle(float(face.box[0]), float(face.box[1]), side, float(np.arctan2(down, right)))


def box(points: Array) -> Array:
    """The box (4,) around landmarks: x and y of the centre, width, height."""
    low, high = points.min(0), points.max(0)
    return np.concatenate([(low + high) / 2, high - low])


def around(points: Array) -> Rectangle:
    """Where FaceMesh looks in the next frame: around the landmarks, the eyes level."""
    x, y, *sides = box(points)
    right, down = points[_EYES[1]] - points[_EYES[0]]
    return Rectangle(float(x), float(y), _MARGIN * max(sides), float(np.arctan2(down, right)))


def _letterbox(frame: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """The whole frame in the middle of a black square, antialiased."""
    height, width = frame.shape[:2]
    scale = side / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    image = Image.fromarray(frame).resize(size, Image.Resampling.BILINEAR)
    square = Image.new("RGB", (side, side))
    square.paste(image, ((side - size[0]) // 2, (side - size[1]) // 2))
    return np.asarray(square)
