"""Several small tensors in one, cast in one launch."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

_STEP = 16  # numbers; every tensor starts where a kernel can read 16 bytes at once


def packed_size(tensors: Sequence[Tensor], dtype: torch.dtype) -> int:
    """Numbers of what `pack` gives."""
    if all(t.dtype == dtype and t.is_contiguous() for t in tensors):
        return 0
    return _layout(tensors)[1]


def pack(tensors: Sequence[Tensor], dtype: torch.dtype) -> Tensor:
    """The tensors in `dtype`, in one flat tensor; an empty one where they are so already."""
    size = packed_size(tensors, dtype)
    gaps = size > sum(t.numel() for t in tensors)
    flat = (tensors[0].new_zeros if gaps else tensors[0].new_empty)(size, dtype=dtype)
    if size:
        torch._foreach_copy_(list(unpack(flat, tensors)), list(tensors))
    return flat


def unpack(flat: Tensor, tensors: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """What `pack` put into `flat`, in the tensors' shapes: views of it, or the tensors."""
    if len(flat) == 0:
        return tuple(tensors)
    starts, _ = _layout(tensors)
    return tuple(
        flat[start : start + t.numel()].view(t.shape)
        for start, t in zip(starts, tensors, strict=True)
    )


def _layout(tensors: Sequence[Tensor]) -> tuple[list[int], int]:
    """Where each is, and the end: those of odd sizes come last, so that there is hardly a gap."""
    starts, end = [0] * len(tensors), 0
    odd = [bool(t.numel() % _STEP) for t in tensors]
    for i in sorted(range(len(tensors)), key=odd.__getitem__):
        starts[i] = -(-end // _STEP) * _STEP
        end = starts[i] + tensors[i].numel()
    return starts, end
