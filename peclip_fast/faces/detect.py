"""Finding faces: one interface for BlazeFace, which comes with the package, and for others.

BlazeFace's geometry is that of its model card (Bazarevsky et al. 2019).
"""

from __future__ import annotations

from typing import Protocol

import numpy as np

from peclip_fast.faces.geometry import Array, Face, Frame, Rectangle, letterbox, merged
from peclip_fast.faces.models import BLAZEFACE, FaceModel, FaceWeights, packaged

LEAST = 0.5  # probability below which nothing is called a face
_GRIDS = ((16, 2), (32, 6))  # BlazeFace of 256 px: pixels between anchors, anchors at each place
_VALUES = 16  # of an anchor: x, y, width, height, six points
_SIDE = 256


class FaceDetector(Protocol):
    """What finds faces in one frame. It keeps no state, and several threads may use it."""

    @property
    def weights(self) -> FaceWeights:
        """Which network, under which licence."""

    def detect(self, frame: Frame) -> list[Face]:
        """The faces in a frame uint8 RGB (H, W, 3), the surest first.

        None is less probable than the detector's least, and no two are one face.
        """


class BlazeFace:
    """The detector that comes with the package.

    Args:
        least: probability below which nothing is called a face.

    Raises:
        InputError: onnxruntime is not installed.
    """

    weights = BLAZEFACE

    def __init__(self, least: float = LEAST) -> None:
        self._least = least
        self._model = FaceModel(packaged(BLAZEFACE), BLAZEFACE.name)
        self._anchors = anchors(_SIDE)

    def detect(self, frame: Frame) -> list[Face]:
        """As of FaceDetector."""
        height, width = frame.shape[:2]
        whole = Rectangle(width / 2, height / 2, max(height, width), 0.0)
        image = letterbox(frame, _SIDE).astype(np.float32) / 127.5 - 1
        outputs = self._model.run(image[None])
        scores = outputs["classificators"][0].astype(np.float64)
        scores = 1 / (1 + np.exp(-scores.clip(-50, 50)))
        likely = np.flatnonzero(scores > self._least)
        raw = outputs["regressors"][0].reshape(-1, _VALUES)[likely].astype(np.float64)
        places = raw.reshape(-1, _VALUES // 2, 2) / _SIDE
        places[:, [0, *range(2, _VALUES // 2)]] += self._anchors[likely, None]
        return merged(
            Face(
                np.concatenate([whole.to_frame(place[:1])[0], place[1] * whole.side]),
                whole.to_frame(place[2:4]),
                float(score),
            )
            for place, score in zip(places, scores[likely], strict=True)
        )


def anchors(side: int) -> Array:
    """Centres (n, 2) of BlazeFace's anchors, x and y in units of the image's side."""
    grids = []
    for step, repeats in _GRIDS:
        centres = (np.arange(side // step) + 0.5) * step / side
        y, x = np.meshgrid(centres, centres, indexing="ij")
        grids.append(np.repeat(np.stack([x.ravel(), y.ravel()], 1), repeats, axis=0))
    return np.concatenate(grids)
