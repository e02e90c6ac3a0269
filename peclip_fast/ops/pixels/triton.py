"""Frames to what a vision encoder reads, on the Triton kernel of peclip_fast.kernels.pixels."""

from __future__ import annotations

import torch
from torch import Tensor

from peclip_fast.ops.declared import Kernel, declare
from peclip_fast.ops.devices import triton_missing
from peclip_fast.ops.implementations import implement_fused
from peclip_fast.ops.pixels.reference import OP
from peclip_fast.ops.register import define

declare(
    OP,
    "triton",
    Kernel(
        devices=("cuda",),
        missing=triton_missing,
        verified=False,  # never run on a GPU
        capability=(8, 0),
    ),
)


def _forward(
    frames: Tensor, mean: Tensor | None, std: Tensor | None, partners: Tensor | None,
    keep: Tensor | None, share: float, dtype: torch.dtype,
) -> Tensor:  # fmt: skip
    from peclip_fast.kernels import pixels as kernels

    out = _forward_like(frames, mean, std, partners, keep, share, dtype)
    kernels.forward(frames, mean, std, partners, keep, share, out)
    return out


def _forward_like(
    frames: Tensor, mean: Tensor | None, std: Tensor | None, partners: Tensor | None,
    keep: Tensor | None, share: float, dtype: torch.dtype,
) -> Tensor:  # fmt: skip
    """Dense, with the colours innermost where they are in the frames."""
    if not colours_last(frames):
        return frames.new_empty(frames.shape, dtype=dtype)
    *lead, colours, height, width = frames.shape
    return frames.new_empty(*lead, height, width, colours, dtype=dtype).movedim(-1, -3)


def colours_last(frames: Tensor) -> bool:
    """Whether each image (C, H, W) lies in memory as (H, W, C)."""
    colours, _, width = frames.shape[-3:]
    return frames.stride()[-3:] == (1, width * colours, colours)


# Nothing that comes in is trained: no gradients.
implement_fused(OP, "triton", define(f"{OP}_triton", _forward, _forward_like, "triton"), ())
