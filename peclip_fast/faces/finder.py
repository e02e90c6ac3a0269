"""The faces of a frame: a detector proposes, FaceMesh confirms and measures."""

from __future__ import annotations

from typing import NamedTuple

from peclip_fast.faces.appearance import appearance
from peclip_fast.faces.detect import BlazeFace, FaceDetector
from peclip_fast.faces.geometry import Array, Face, Frame, box, roll
from peclip_fast.faces.landmarks import EYES, FaceMesh, rectangle

FAINT = 0.35  # probability that is enough of a face that is surer in another frame


class FacePlace(NamedTuple):
    """What crops hang on: the box around a face's landmarks, whatever has detected it.

    Args:
        x: of the centre, in pixels.
        y: of the centre.
        side: of the square of the same area, in pixels.
        roll: by how much the eyes are off the level, in radians, clockwise.
    """

    x: float
    y: float
    side: float
    roll: float

    @staticmethod
    def of(points: Array) -> FacePlace:
        """Of landmarks (468, 2) in pixels."""
        x, y, width, height = box(points).tolist()
        return FacePlace(x, y, (width * height) ** 0.5, roll(points[list(EYES)]))


class SeenFace(NamedTuple):
    """A face that both networks have found.

    Args:
        face: as detected.
        points: (468, 2), its landmarks in pixels.
        look: what tells one person from another, as ``appearance`` gives it.
    """

    face: Face
    points: Array
    look: Array


class FaceFinder:
    """Finds the faces of one frame. It keeps no state, and several threads may use it.

    Args:
        detector: BlazeFace down to ``FAINT`` unless given.
        min_face: smallest height of a face, in pixels.
        max_faces: most faces in a frame, of which the largest are taken; None is all.

    Raises:
        InputError: onnxruntime is not installed.
    """

    def __init__(
        self,
        detector: FaceDetector | None = None,
        min_face: float = 0.0,
        max_faces: int | None = None,
    ) -> None:
        self.detector: FaceDetector = detector or BlazeFace(FAINT)
        self.mesh = FaceMesh()
        self._min_face, self._max_faces = min_face, max_faces

    def find(self, frame: Frame) -> list[SeenFace]:
        """The faces of a frame uint8 RGB (H, W, 3), the largest first."""
        faces = [face for face in self.detector.detect(frame) if face.box[3] >= self._min_face]
        faces.sort(key=lambda face: -float(face.box[2] * face.box[3]))
        seen: list[SeenFace] = []
        for face in faces:
            if len(seen) == self._max_faces:
                break
            points = self.mesh.measure(frame, rectangle(face))
            if points is not None:
                seen.append(SeenFace(face, points, appearance(frame, face)))
        return seen
