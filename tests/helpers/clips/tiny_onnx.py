"""ONNX files of one 1x1 convolution, written byte by byte: https://onnx.ai/onnx/repo-docs/IR.html.

A message is a row of fields, each a key (number and kind), then a number or a length and bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

FLOAT, HALF = 1, 10


def colour_classifier(path: Path, colours: np.ndarray, side: int | str = 64) -> Path:
    """A network whose logits (1, C, side, side) are highest for the nearest of C colours.

    Args:
        path: of the file.
        colours: (C, 3), RGB in 0 to 255.
        side: of its images; a name leaves it open.
    """
    near = (colours / 255 - (0.485, 0.456, 0.406)) / (0.229, 0.224, 0.225)
    return write(path, 2 * near[:, :, None, None], -(near**2).sum(1), [1, 3, side, side])


def write(
    path: Path,
    weight: np.ndarray,
    bias: np.ndarray,
    shape: Sequence[int | str],
    kind: int = FLOAT,
) -> Path:
    node = b"".join(_text(1, name) for name in ("image", "weight", "bias"))
    node += _text(2, "logits") + _text(4, "Conv")
    graph = _message(1, node) + _text(2, "tiny")
    graph += _tensor("weight", weight, kind) + _tensor("bias", bias, kind)
    graph += _message(11, _value("image", shape, kind)) + _message(
        12, _value("logits", "nchw", kind)
    )
    path.write_bytes(_number(1, 8) + _message(7, graph) + _message(8, _number(2, 13)))
    return path


def _varint(value: int) -> bytes:
    low, rest = value & 127, value >> 7
    return bytes([low | 128]) + _varint(rest) if rest else bytes([low])


def _number(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value)


def _message(field: int, content: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(content)) + content


def _text(field: int, text: str) -> bytes:
    return _message(field, text.encode())


def _tensor(name: str, values: np.ndarray, kind: int) -> bytes:
    content = b"".join(_number(1, n) for n in values.shape) + _number(2, kind) + _text(8, name)
    return _message(
        5, content + _message(9, values.astype("<f4" if kind == FLOAT else "<f2").tobytes())
    )


def _value(name: str, shape: Sequence[int | str], kind: int) -> bytes:
    sizes = [_text(2, n) if isinstance(n, str) else _number(1, n) for n in shape]
    tensor = _number(1, kind) + _message(2, b"".join(_message(1, size) for size in sizes))
    return _text(1, name) + _message(2, _message(1, tensor))
