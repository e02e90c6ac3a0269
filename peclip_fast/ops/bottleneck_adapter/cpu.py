"""The bottleneck adapter on the CPU.

    u = W_d x
    y = W_u GELU(u + b_d) + b_u + x + residual

Where a unit multiplies bfloat16 it is one kernel, feed_forward's; else two products, with what
stands around them in their passes. Kept for the backward pass: x and u.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from peclip_fast.ops import extension
from peclip_fast.ops.bottleneck_adapter.reference import OP
from peclip_fast.ops.declared import Kernel, declare
from peclip_fast.ops.dtypes import promoted
from peclip_fast.ops.feed_forward import activate, fused_backward, fused_forward
from peclip_fast.ops.products import STEP, product, sum_of_rows, takes, weight_gradient
from peclip_fast.ops.register import register


def _rows(t: Tensor) -> Tensor:
    return t.reshape(-1, t.shape[-1]).contiguous()


def _padded(
    down_weight: Tensor, down_bias: Tensor, up_weight: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """(h, D), (h,) and (D, h) with zeros after the h, which the units take in steps."""
    more = -len(down_bias) % STEP
    if not more:
        return down_weight, down_bias, up_weight
    wider, longer = (0, more), (0, 0, 0, more)
    return F.pad(down_weight, longer), F.pad(down_bias, wider), F.pad(up_weight, wider)


def _fits(x: Tensor, down_weight: Tensor, *added: Tensor | None) -> bool:
    """Whether one kernel does it all."""
    like = down_weight.new_empty(STEP, down_weight.shape[1])
    return takes(x, like) and all(t is None or t.dtype == x.dtype for t in added)


def _forward(
    x: Tensor, down_weight: Tensor, down_bias: Tensor, up_weight: Tensor, up_bias: Tensor,
    residual: Tensor | None, skip: bool, scale: float, save: bool,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    rows = _rows(x)
    if scale != 1.0:
        up_weight, up_bias = up_weight.float() * scale, up_bias.float() * scale
    added = tuple(t for t in (rows if skip else None, residual) if t is not None)
    added = tuple(_rows(t) for t in added)
    if _fits(rows, down_weight, residual):
        down, bias, up = _padded(down_weight, down_bias, up_weight)
        out, hidden = fused_forward(rows, down, bias, up, up_bias, "gelu", added, save=save)
        return out.view(x.shape), hidden
    hidden = product(rows.to(down_weight.dtype), down_weight)
    activated = torch.empty_like(hidden) if save else hidden
    activate("gelu", hidden, down_bias.float(), activated)
    out = product(activated, up_weight, up_bias, added=added).view(x.shape)
    return out, hidden if save else hidden.new_empty(0, len(down_bias))


def _backward(
    grad: Tensor, x: Tensor, hidden: Tensor, down_weight: Tensor, down_bias: Tensor,
    up_weight: Tensor, skip: bool, scale: float,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    rows, inputs, dtype, width = _rows(grad), _rows(x), hidden.dtype, len(down_bias)
    dy = rows.to(dtype)
    scaled = up_weight if scale == 1.0 else up_weight.float() * scale
    if hidden.dim() == 3:  # kept by the fused kernel
        down, bias, up = _padded(down_weight, down_bias, scaled)
        added = dy if skip else None
        dx, activated, dhidden = fused_backward(
            dy, hidden, down, bias, up, "gelu", added, trained=True
        )
    else:
        bias, activated = down_bias.float(), torch.empty_like(hidden)
        activate("gelu", hidden, bias, activated)
        dhidden = product(dy, scaled, by_rows=True)
        activate("gelu", hidden, bias, dhidden, dhidden)
        dx = product(dhidden, down_weight, by_rows=True, added=(rows,) if skip else ())
    dup_weight, dup_bias = weight_gradient(activated, dy)[:width].mT, sum_of_rows(dy)
    if scale != 1.0:
        dup_weight, dup_bias = dup_weight * scale, dup_bias * scale
    ddown_weight = weight_gradient(dhidden, inputs.to(dtype))[:width]
    return (
        dx.to(x.dtype).view(x.shape), ddown_weight, sum_of_rows(dhidden)[:width],
        dup_weight.contiguous(), dup_bias,
    )  # fmt: skip


def _forward_like(
    x: Tensor, down_weight: Tensor, down_bias: Tensor, up_weight: Tensor, up_bias: Tensor,
    residual: Tensor | None, skip: bool, scale: float, save: bool,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    hidden, width = down_weight.shape
    rows = x.numel() // width if save else 0
    by_panels = _fits(x, down_weight, residual)
    shape = (-(-hidden // STEP), rows, STEP) if by_panels else (rows, hidden)
    dtype = promoted(down_weight, x if skip else None, residual)
    return x.new_empty(x.shape, dtype=dtype), down_weight.new_empty(shape)


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
