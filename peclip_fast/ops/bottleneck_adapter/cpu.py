"""The bottleneck adapter on the CPU: two products, with what stands around them in their passes.

    u = W_d x
    y = W_u GELU(u + b_d) + b_u + x + residual

Kept for the backward pass: x and u.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from peclip_fast.ops import extension
from peclip_fast.ops.bottleneck_adapter.reference import OP
from peclip_fast.ops.declared import Kernel, declare
from peclip_fast.ops.dtypes import promoted
from peclip_fast.ops.feed_forward import activate
from peclip_fast.ops.products import product, sum_of_rows, weight_gradient
from peclip_fast.ops.register import register


def _rows(t: Tensor) -> Tensor:
    return t.reshape(-1, t.shape[-1]).contiguous()


def _forward(
    x: Tensor, down_weight: Tensor, down_bias: Tensor, up_weight: Tensor, up_bias: Tensor,
    residual: Tensor | None, skip: bool, scale: float,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    rows = _rows(x)
    hidden = product(rows.to(down_weight.dtype), down_weight)
    activated = torch.empty_like(hidden)
    activate("gelu", hidden, down_bias.float(), activated)
    if scale != 1.0:
        up_weight, up_bias = up_weight.float() * scale, up_bias.float() * scale
    added = ([rows] if skip else []) + ([] if residual is None else [_rows(residual)])
    return product(activated, up_weight, up_bias, added=tuple(added)).view(x.shape), hidden


def _backward(
    grad: Tensor, x: Tensor, hidden: Tensor, down_weight: Tensor, down_bias: Tensor,
    up_weight: Tensor, skip: bool, scale: float,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    rows, inputs, dtype = _rows(grad), _rows(x), hidden.dtype
    dy = rows.to(dtype)
    bias, activated = down_bias.float(), torch.empty_like(hidden)
    activate("gelu", hidden, bias, activated)
    scaled = up_weight if scale == 1.0 else up_weight.float() * scale
    dhidden = product(dy, scaled, by_rows=True)
    activate("gelu", hidden, bias, dhidden, dhidden)
    dup_weight, dup_bias = weight_gradient(activated, dy).mT, sum_of_rows(dy)
    if scale != 1.0:
        dup_weight, dup_bias = dup_weight * scale, dup_bias * scale
    ddown_weight = weight_gradient(dhidden, inputs.to(dtype))
    dx = product(dhidden, down_weight, by_rows=True, added=(rows,) if skip else ())
    return (
        dx.to(x.dtype).view(x.shape), ddown_weight, sum_of_rows(dhidden),
        dup_weight.contiguous(), dup_bias,
    )  # fmt: skip


def _forward_like(
    x: Tensor, down_weight: Tensor, down_bias: Tensor, up_weight: Tensor, up_bias: Tensor,
    residual: Tensor | None, skip: bool, scale: float,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    hidden, width = down_weight.shape
    dtype = promoted(down_weight, x if skip else None, residual)
    return (
        x.new_empty(x.shape, dtype=dtype),
        down_weight.new_empty(x.numel() // width, hidden),
    )


def _backward_like(grad: Tensor, x: Tensor, hidden: Tensor, *weights: Any) -> tuple[Tensor, ...]:
    down_weight, down_bias, up_weight = weights[:3]
    like = x.new_empty(x.shape), *(w.new_empty(w.shape) for w in (down_weight, down_bias))
    return *like, up_weight.new_empty(up_weight.shape), up_weight.new_empty(up_weight.shape[0])


declare(OP, "cpu", Kernel(("cpu",), extension.missing, verified=True))
register(
    OP,
    "cpu",
    forward=_forward,
    forward_like=_forward_like,
    backward=_backward,
    backward_like=_backward_like,
    gradients=("x", "down_weight", "down_bias", "up_weight", "up_bias"),
    saved=("hidden",),
    added=("residual",),
)
