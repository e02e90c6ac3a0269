"""The bottleneck adapter on the Triton kernels of peclip_fast.kernels.bottleneck_adapter."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from peclip_fast.ops.bottleneck_adapter.reference import OP
from peclip_fast.ops.declared import Kernel, declare
from peclip_fast.ops.devices import triton_missing
from peclip_fast.ops.dtypes import promoted
from peclip_fast.ops.packing import pack, packed_size, unpack
from peclip_fast.ops.register import register


def _forward(
    x: Tensor, down_weight: Tensor, down_bias: Tensor, up_weight: Tensor, up_bias: Tensor,
    residual: Tensor | None, skip: bool, scale: float, dtype: torch.dtype,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """y, and the weights as the products take them, which are of `dtype`."""
    from peclip_fast.kernels import bottleneck_adapter as kernels

    weights = down_weight, down_bias, up_weight, up_bias
    cast = pack(weights, dtype)
    down, of_down, up, of_up = unpack(cast, weights)
    out_dtype = _result_dtype(x, residual, skip, dtype)
    y = kernels.forward(x, down, of_down, up, of_up, residual, skip, scale, out_dtype)
    return y, cast


def _forward_like(
    x: Tensor, down_weight: Tensor, down_bias: Tensor, up_weight: Tensor, up_bias: Tensor,
    residual: Tensor | None, skip: bool, scale: float, dtype: torch.dtype,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    size = packed_size((down_weight, down_bias, up_weight, up_bias), dtype)
    y = x.new_empty(x.shape, dtype=_result_dtype(x, residual, skip, dtype))
    return y, x.new_empty(size, dtype=dtype)


def _result_dtype(
    x: Tensor, residual: Tensor | None, skip: bool, dtype: torch.dtype
) -> torch.dtype:
    for t in (x if skip else None, residual):
        dtype = dtype if t is None else torch.promote_types(dtype, t.dtype)
    return dtype


def _backward(
    grad: Tensor, x: Tensor, cast: Tensor, down_weight: Tensor, down_bias: Tensor,
    up_weight: Tensor, up_bias: Tensor, skip: bool, scale: float,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    from peclip_fast.kernels import bottleneck_adapter as kernels

    given = down_weight, down_bias, up_weight, up_bias
    down, of_down, up, _ = unpack(cast, given)
    return kernels.backward(grad, x, down, of_down, up, skip, scale, _flat_dtype(given))


def _backward_like(
    grad: Tensor, x: Tensor, cast: Tensor, down_weight: Tensor, down_bias: Tensor,
    up_weight: Tensor, up_bias: Tensor, skip: bool, scale: float,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    weights = down_weight, down_bias, up_weight, up_bias
    count = sum(w.numel() for w in weights)
    return x.new_empty(x.shape), x.new_empty(count, dtype=_flat_dtype(weights))


def _flat_dtype(weights: tuple[Tensor, ...]) -> torch.dtype:
    """Of the sums that the weights' gradients are: never rounded more than the weights."""
    return promoted(weights[0], *weights[1:])


def _unpack(results: tuple[Tensor, Tensor], x: Tensor, cast: Tensor, *rest: Any) -> list[Tensor]:
    """The gradients of the weights come as one tensor: the kernels' sums are laid out so."""
    dx, flat = results
    weights = rest[:4]
    parts = flat.split([w.numel() for w in weights])
    return [dx, *(p.view(w.shape).to(w.dtype) for p, w in zip(parts, weights, strict=True))]


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
    saved=("cast",),
    added=("residual",),
    unpack=_unpack,
)
