"""Work for a GPU that runs next to other work of the same step."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor

T = TypeVar("T")


def alongside(
    device: torch.device, first: Callable[[], T], second: Callable[[], Tensor]
) -> tuple[T, Tensor]:
    """first() and second(), which need nothing of each other and may run at once on a GPU.

    ``second`` is small: it runs on a stream of its own, from where this one stands now, and this
    one waits for it at the end. It is launched after ``first``, so that the GPU has something to do
    meanwhile. Their backward passes run on the streams of their forward passes. A CUDA graph
    captures it as two branches.
    """
    if device.type != "cuda" or torch.compiler.is_compiling():
        return first(), second()
    stream, side = torch.cuda.current_stream(device), _side_stream(device)
    start = stream.record_event()
    one = first()
    side.wait_event(start)
    with torch.cuda.stream(side):
        other = second()
    stream.wait_stream(side)
    other.record_stream(stream)  # its memory is the side stream's, and is read on this one
    return one, other


@functools.cache
def _side_stream(device: torch.device) -> torch.cuda.Stream:
    return torch.cuda.Stream(device)
