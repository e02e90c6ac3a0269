"""468 landmarks of the largest face in each frame: BlazeFace finds it, FaceMesh measures it.

FaceMesh's geometry is that of its model card (Kartynnik et al. 2019).
"""

from __future__ import annotations

import numpy as np

from peclip_fast.data.cues.regions import POINTS
from peclip_fast.faces.detect import LEAST, BlazeFace
from peclip_fast.faces.geometry import Array, Face, Frame, Rectangle, box, overlap, roll
from peclip_fast.faces.models import BLAZEFACE, FACEMESH, FaceModel, packaged

_SIDE = 192
_SAME = 0.3  # a box that shares more of its union with the face before is that face
_STAYS = 2.0  # as many times as large counts the face that was taken in the frame before
_MARGIN = 1.5  # side of FaceMesh's crop over the longer side of the box
EYES = (33, 263)  # landmarks: the outer corner of the eye on the viewer's left, of the other


class FaceMesh:
    """Measures a face whose place is known, and says whether there is one. It keeps no state.

    Raises:
        InputError: onnxruntime is not installed.
    """

    weights = FACEMESH

    def __init__(self) -> None:
        self._model = FaceModel(packaged(FACEMESH), FACEMESH.name)

    def measure(self, frame: Frame, where: Rectangle) -> Array | None:
        """The landmarks (468, 2) in pixels of the face in a rectangle; None if there is none."""
        image = where.cut(frame, _SIDE).astype(np.float32) / np.float32(255)
        points, presence = (output[0] for output in self._model.run(image[None]).values())
        if presence[0] < np.log(LEAST / (1 - LEAST)):  # it comes before the sigmoid
            return None
        found = points.reshape(POINTS, 3)[:, :2].astype(np.float64)
        return where.to_frame(found / _SIDE)


class LandmarkModel:
    """Both models, opened.

    Raises:
        InputError: onnxruntime is not installed.
    """

    @staticmethod
    def origin() -> str:
        """Which models, by their files."""
        digests = ", ".join(weights.digest[:16] for weights in (BLAZEFACE, FACEMESH))
        return f"BlazeFace and FaceMesh, SHA-256 {digests}"

    def __init__(self) -> None:
        self._detector = BlazeFace()
        self._mesh = FaceMesh()

    def detect(self, frame: Frame) -> list[Face]:
        """The faces in a frame uint8 RGB (H, W, 3), the surest first."""
        return self._detector.detect(frame)

    def measure(self, frame: Frame, where: Rectangle) -> Array | None:
        """The landmarks (468, 2) in pixels of the face in a rectangle; None if there is none."""
        return self._mesh.measure(frame, where)

    def landmarks(self, frame: Frame, before: Array | None = None) -> Array | None:
        """The landmarks (468, 2), x and y in pixels, of the largest face; None without one.

        Args:
            frame: uint8 RGB (H, W, 3).
            before: of a face in this frame or a former one. Another must be twice as large.
        """
        former = None if before is None else box(before)

        def weight(face: Face) -> float:
            same = former is not None and overlap(face.box, former) > _SAME
            return float(np.prod(face.box[2:])) * (_STAYS if same else 1)

        for face in sorted(self.detect(frame), key=weight, reverse=True):
            points = self.measure(frame, rectangle(face))
            if points is not None:
                return points
        return None


def rectangle(face: Face) -> Rectangle:
    """Where FaceMesh looks: the box, larger, turned so that the eyes are level."""
    side = _MARGIN * float(max(face.box[2:]))
    return Rectangle(float(face.box[0]), float(face.box[1]), side, roll(face.eyes))


def around(points: Array) -> Rectangle:
    """Where FaceMesh looks in the next frame: around the landmarks, the eyes level."""
    x, y, *sides = box(points)
    return Rectangle(float(x), float(y), _MARGIN * max(sides), roll(points[list(EYES)]))
