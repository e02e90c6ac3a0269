"""The bottleneck adapter on the Triton kernels of peclip_fast.kernels.bottleneck_adapter."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from peclip_fast.ops.bottleneck_adapter.reference import OP
from peclip_fast.ops.declared import Kernel, declare
from peclip_fast.ops.devices import triton_missing
from peclip_fast.ops.dtypes import promoted
from peclip_fast.ops.register import register


def _forward(
    x: Tensor, down_weight: Tensor, down_bias: Tensor, up_weight: Tensor, up_bias: Tensor,
    residual: Tensor | None, skip: bool, scale: float,
) -> Tensor:  # fmt: skip
    from peclip_fast.kernels import bottleneck_adapter as kernels

    dtype = promoted(down_weight, x if skip else None, residual)
    return kernels.forward(
        x, down_weight, down_bias, up_weight, up_bias, residual, skip, scale, dtype
    )


def _forward_like(
    x: Tensor, down_weight: Tensor, down_bias: Tensor, up_weight: Tensor, up_bias: Tensor,
    residual: Tensor | None, skip: bool, scale: float,
) -> Tensor:  # fmt: skip
    return x.new_empty(x.shape, dtype=promoted(down_weight, x if skip else None, residual))


def _backward(
    grad: Tensor, x: Tensor, down_weight: Tensor, down_bias: Tensor, up_weight: Tensor,
    skip: bool, scale: float,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    from peclip_fast.kernels import bottleneck_adapter as kernels

    return kernels.backward(grad, x, down_weight, down_bias, up_weight, skip, scale)


def _backward_like(
    grad: Tensor, x: Tensor, down_weight: Tensor, *_: Any
) -> tuple[Tensor, Tensor]:  # fmt: skip
    hidden, width = down_weight.shape
    return x.new_empty(x.shape), down_weight.new_empty(2 * width * hidden + width + hidden)


def _unpack(
    results: tuple[Tensor, Tensor], x: Tensor, down_weight: Tensor, *_: Any
) -> Sequence[Tensor]:
    """The gradients of the weights come as one tensor: the kernels' sums are laid out so."""
    dx, flat = results
    hidden, width = down_weight.shape
    dwd, dbd, dwu, dbu = flat.split((hidden * width, hidden, width * hidden, width))
    return dx, dwd.view(hidden, width), dbd, dwu.view(width, hidden), dbu


declare(
    OP,
    "triton",
    Kernel(
        devices=("cuda",),
        missing=triton_missing,
        verified=False,  # never run on a GPU
        width=(16, 4096),
        hidden=(1, 320),
        capability=(8, 0),
    ),
)
register(
    OP,
    "triton",
    forward=_forward,
    forward_like=_forward_like,
    backward=_backward,
    backward_like=_backward_like,
    gradients=("x", "down_weight", "down_bias", "up_weight", "up_bias"),
    added=("residual",),
    unpack=_unpack,
)
