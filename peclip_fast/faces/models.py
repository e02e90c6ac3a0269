"""The networks that come with the package, whose they are, and what runs them."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from peclip_fast.errors import InputError

WEIGHTS = Path(__file__).parent / "weights"
HELP = "pip install 'peclip-fast[faces]'"
_PROVIDERS = ["CPUExecutionProvider"]


@dataclass(frozen=True)
class FaceWeights:
    """A file of weights.

    Args:
        name: of the network.
        licence: of the weights, as one should know it before using what they find.
        digest: SHA-256 of the file, in hexadecimal.
    """

    name: str
    licence: str
    digest: str

    def about(self) -> dict[str, str]:
        """For run.json and for people."""
        return asdict(self)


BLAZEFACE = FaceWeights(
    "BlazeFace, back camera, 256 px",
    "Apache-2.0 (Google)",
    "18d11feeb203c1b0ac94b9f514bc244b3556c2659f7fc34d0a41c1daaedd3b56",
)
FACEMESH = FaceWeights(
    "FaceMesh, 192 px",
    "Apache-2.0 (Google)",
    "e091f14feb6ebddfc8559fd59ca678518d037eccfa6539abdc76ff7210e97eed",
)
_FILES = {BLAZEFACE: "blazeface_back.onnx", FACEMESH: "facemesh.onnx"}


def packaged(weights: FaceWeights) -> bytes:
    """A network that comes with the package.

    Raises:
        InputError: the file is missing or damaged; names it.
    """
    path = WEIGHTS / _FILES[weights]
    data = read_model(path)
    if hashlib.sha256(data).hexdigest() != weights.digest:
        raise InputError(f"{path}: damaged: its bytes aren't those of {weights.name}")
    return data


def read_model(path: Path) -> bytes:
    """The bytes of a model's file, or InputError that names it."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: can't be read: {error.strerror}") from None


class FaceModel:
    """An ONNX network of one input, images (n, side, side, 3) or (n, 3, side, side) float32.

    It runs on one thread, and may be called from several.

    Args:
        data: the file's bytes.
        name: of the file or network, for errors.

    Raises:
        InputError: onnxruntime is not installed, or doesn't take the file.
    """

    def __init__(self, data: bytes, name: str) -> None:
        try:
            import onnxruntime
        except ImportError as error:
            raise InputError(f"onnxruntime can't be used ({error}): {HELP}") from None
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 4  # what is wrong is said by its exceptions
        options.enable_cpu_mem_arena = False  # it would keep what the largest batch needed
        try:
            self._session: Any = onnxruntime.InferenceSession(data, options, providers=_PROVIDERS)
        except Exception as error:  # its errors have no class in common
            reason = str(error).splitlines()[0]
            raise InputError(f"{name}: not a model that onnxruntime runs: {reason}") from None
        self._name = name
        self._input = self._session.get_inputs()[0]
        self.shape: list[int | str] = list(self._input.shape)
        self.outputs: dict[str, list[int | str]] = {
            output.name: list(output.shape) for output in self._session.get_outputs()
        }

    def run(self, images: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
        """Each output by its name.

        Raises:
            InputError: the network doesn't take images of this shape.
        """
        try:
            found = self._session.run(None, {self._input.name: images})
        except Exception as error:
            reason = str(error).splitlines()[0]
            raise InputError(f"{self._name}: can't be run: {reason}") from None
        return dict(zip(self.outputs, found, strict=True))
