"""What a decoding process and the server say to each other: JSON, and arrays as plain bytes.

Nothing is pickled: a process that a file has taken over can say false things, but have the server
do nothing.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from multiprocessing.connection import Connection
from typing import Any

import torch

from peclip_fast.json_files import parse_json

_MOST = 64 << 20  # bytes of one message


def tell(to: Connection, message: Mapping[str, Any]) -> None:
    """Send a message."""
    to.send_bytes(json.dumps(message).encode())


def hear(source: Connection) -> dict[str, Any]:
    """The next message.

    Raises:
        EOFError, OSError: the other process has ended.
        InputError: it is no JSON object.
    """
    return parse_json(source.recv_bytes(_MOST), "a decoding process", dict[str, Any])


def tell_images(to: Connection, given: Mapping[str, torch.Tensor], names: tuple[str, ...]) -> None:
    """Send images uint8 of a known shape, in the order of their names."""
    for name in names:
        to.send_bytes(given[name].numpy().tobytes())


def hear_images(
    source: Connection, names: tuple[str, ...], shape: tuple[int, ...]
) -> dict[str, torch.Tensor]:
    """What ``tell_images`` has sent.

    Raises:
        EOFError, OSError: the other process has ended, or they are larger.
        ValueError: they are of another shape.
    """
    size = math.prod(shape)
    given = {}
    for name in names:
        images = bytearray(source.recv_bytes(size))
        if len(images) != size:
            raise ValueError(f"{name}: expected {size} bytes, got {len(images)}")
        given[name] = torch.frombuffer(images, dtype=torch.uint8).reshape(shape)
    return given
