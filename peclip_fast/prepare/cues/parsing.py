"""Regions of a face by a face-parsing network from an ONNX file."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from peclip_fast.data.cues.regions import REGIONS
from peclip_fast.errors import InputError
from peclip_fast.faces.geometry import Array, Rectangle
from peclip_fast.text_files import read_lines, shown, whole_number

_MOST_CLASSES = 10_000
SIDE = 128  # most pixels of a map's longer side
_INPUT = 512  # pixels of a side where the file leaves it open: that of BiSeNet's models
# ImageNet's, of RGB in 0 to 1.
_MEAN, _STD = np.array([[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]], np.float32)
# CelebAMask-HQ's classes in the order of BiSeNet's models. Glasses hide the eyes: better none than
# eyes of the glasses' size.
CELEBAMASK_HQ = {
    "background": "background",
    "skin": "face",
    "left brow": "brows",
    "right brow": "brows",
    "left eye": "eyes",
    "right eye": "eyes",
    "glasses": "face",
    "left ear": "face",
    "right ear": "face",
    "earring": "background",
    "nose": "nose",
    "mouth": "mouth",
    "upper lip": "lips",
    "lower lip": "lips",
    "neck": "background",
    "necklace": "background",
    "clothes": "background",
    "hair": "hair",
    "hat": "background",
}
_EYES, _LIP_CORNERS = ((33, 133), (362, 263)), (61, 291)  # the viewer's left first
_PROVIDERS = ["CPUExecutionProvider"]


@dataclass(frozen=True)
class Parsing:
    """A face-parsing network that isn't opened yet.

    Args:
        path: ONNX file. One image, float32 (1, 3, side, side), RGB less ImageNet's mean over its
            deviation, gives logits (1, C, h, w); further outputs are not read.
        regions: of ``REGIONS``, one for each of the C classes.
        digest: SHA-256 of the file, in hexadecimal.
    """

    path: Path
    regions: tuple[str, ...]
    digest: str

    def __str__(self) -> str:
        return f"{self.path.name}, SHA-256 {self.digest}"


def find_parsing(path: Path, classes: Path | None = None) -> Parsing:
    """The network of a file.

    Args:
        path: ONNX file.
        classes: what its classes are, as ``read_classes`` takes it; CelebAMask-HQ's by default.

    Raises:
        InputError: a file can't be read, or a line of ``classes`` is wrong.
    """
    try:
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise InputError(f"--parsing {path}: can't be read: {error.strerror}") from None
    regions = tuple(CELEBAMASK_HQ.values()) if classes is None else read_classes(classes)
    return Parsing(path, regions, digest)


def read_classes(path: Path) -> tuple[str, ...]:
    """The region of each class, from lines ``number: region``.

    Raises:
        InputError: a line is of another form, or a number comes twice or is left out; names it.
    """
    regions: dict[int, str] = {}
    for source, line in read_lines(path):
        written, _, region = (part.strip() for part in line.partition(":"))
        number = whole_number(written)
        if number is None or number > _MOST_CLASSES or region not in REGIONS:
            raise InputError(
                f"{source}: expected 'number: region' with a region of {', '.join(REGIONS)}, got "
                f"{shown(line)}"
            )
        if number in regions:
            raise InputError(f"{source}: a second line for class {number}")
        regions[number] = region
    numbers = range(max(regions, default=0) + 1)
    for missing in {*numbers} - regions.keys():
        raise InputError(f"{path}: no line for class {missing}; expected one for each class")
    return tuple(regions[k] for k in numbers)


class ParsingModel:
    """The network, opened, on one thread. It belongs to one process.

    Raises:
        InputError: onnxruntime is not installed, doesn't take the file, or the file's input,
            output or number of classes is another; names it.
    """

    def __init__(self, parsing: Parsing) -> None:
        try:
            import onnxruntime
        except ImportError as error:
            help_ = "pip install 'peclip-fast[cues]'"
            raise InputError(f"onnxruntime can't be used ({error}): {help_}") from None
        path = self._path = parsing.path
        self._classes = np.array([REGIONS.index(name) for name in parsing.regions], np.uint8)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 4  # what is wrong is said by its exceptions
        try:
            self._session: Any = onnxruntime.InferenceSession(
                str(path), options, providers=_PROVIDERS
            )
        except Exception as error:  # its errors have no class in common
            raise InputError(
                f"{parsing.path}: not a model that onnxruntime runs: {error}"
            ) from None
        self.side = self._input_side()
        logits = self._run(np.zeros((self.side, self.side, 3), np.uint8))
        if logits.ndim != 4 or logits.shape[0] != 1:
            raise InputError(
                f"{path}: gives {logits.shape}; expected logits (1, classes, height, width)"
            )
        if logits.shape[1] != len(self._classes):
            raise InputError(
                f"{path}: gives {logits.shape[1]} classes, not {len(self._classes)}; "
                "--parsing_classes FILE says what each is, in lines 'number: region'"
            )

    def regions(self, frame: NDArray[np.uint8], points: Array) -> NDArray[np.uint8]:
        """The regions of a frame, uint8 (h, w), the longer side at most ``SIDE``.

        Args:
            frame: uint8 RGB (H, W, 3).
            points: the face's landmarks (468, 2) in pixels. Outside its portrait is background.
        """
        where = portrait(points)
        logits = self._run(where.cut(frame, self.side))
        return pasted(self._classes[logits[0].argmax(0)], where, *frame.shape[:2])

    def _run(self, image: NDArray[np.uint8]) -> NDArray[np.float32]:
        values = (image.astype(np.float32) / 255 - _MEAN) / _STD
        given = {self._input: np.ascontiguousarray(values.transpose(2, 0, 1)[None])}
        try:
            (logits,) = self._session.run([self._session.get_outputs()[0].name], given)
        except Exception as error:  # as above
            raise InputError(f"{self._path}: can't be run: {error}") from None
        return np.asarray(logits)

    def _input_side(self) -> int:
        """The side of its images; remembers the input's name."""
        first, *others = self._session.get_inputs()
        batch, channels, height, width = first.shape if len(first.shape) == 4 else [0] * 4
        named = [n for n in (height, width) if isinstance(n, int)] or [_INPUT]
        fits = channels in (3, None) or isinstance(channels, str)
        if others or first.type != "tensor(float)" or batch == 0 or not fits or len({*named}) > 1:
            raise InputError(
                f"{self._path}: takes {first.type} {first.shape}; expected one input, float32 "
                "(1, 3, side, side)"
            )
        self._input = first.name
        return named[0]


def portrait(points: Array) -> Rectangle:
    """The square that CelebA-HQ cuts out for a face (Karras et al. 2018, appendix C)."""
    left, right = (points[list(eye)].mean(0) for eye in _EYES)
    eyes = (left + right) / 2
    across, down = right - left, points[list(_LIP_CORNERS)].mean(0) - eyes
    x, y = eyes + 0.1 * down
    side = max(4.0 * np.hypot(*across), 3.6 * np.hypot(*down))
    level = across + np.array([down[1], -down[0]])
    return Rectangle(float(x), float(y), float(side), float(np.arctan2(level[1], level[0])))


def pasted(
    classes: NDArray[np.uint8], where: Rectangle, height: int, width: int
) -> NDArray[np.uint8]:
    """The map of a whole frame, nearest, from that of a square in it.

    Args:
        classes: uint8 (h, w), of the square.
        where: the square.
        height: of the frame.
        width: of the frame.

    Returns:
        uint8, the frame's shape made smaller to ``SIDE``; 0 outside the square.
    """
    scale = min(1.0, SIDE / max(height, width))
    rows, columns = (max(1, round(n * scale)) for n in (height, width))
    x, y = (np.arange(columns) + 0.5) * width / columns, (np.arange(rows) + 0.5) * height / rows
    places = where.from_frame(np.stack(np.meshgrid(x, y), -1).reshape(-1, 2))
    inside = ((places >= 0) & (places < 1)).all(1)
    column, row = (places[inside] * classes.shape[::-1]).astype(int).T
    image = np.zeros(rows * columns, np.uint8)
    image[inside] = classes[row, column]
    return image.reshape(rows, columns)
