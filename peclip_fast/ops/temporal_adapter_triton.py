"""The temporal adapter on the Triton kernels of kernels/temporal_adapter.py."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from peclip_fast.ops import backends
from peclip_fast.ops.temporal_adapter_operator import OP, empties, out_dtype, register

_SAVED = 7

backends.declare(
    OP,
    "triton",
    backends.Kernel(
        devices=("cuda",),
        missing=backends.triton_missing,
        width=(16, 4096),
        hidden=(1, 192),
        frames=(1, 2**31 - 1),
        capability=(8, 0),
    ),
)


def _cast(weights: list[Tensor | None], dtype: torch.dtype) -> list[Any]:
    """The LayerNorm's weights as they come, the others as the products take them."""
    return [
        w if w is None else (w if i < 2 else w.to(dtype)).contiguous()
        for i, w in enumerate(weights)
    ]


def forward(x: Tensor, residual: Tensor | None, *rest: Any) -> tuple[Tensor, ...]:
    """Give the output and what the backward pass needs."""
    from peclip_fast.kernels import temporal_adapter as kernels

    *weights, scaling, dtype, save = rest
    arguments: Any = (*_cast(weights, dtype), scaling, out_dtype(x, residual, dtype))
    out, kept = kernels.forward(x, residual, *arguments)
    return out, *(kept if save else empties(x, _SAVED))


def saved(x: Tensor, *rest: Any) -> tuple[Tensor, ...]:
    """Like what `forward` saves."""
    *weights, scaling, dtype = rest
    clips, frames, tokens, _ = x.shape
    rows, hidden = clips * frames * tokens, weights[4].shape[0]

    def thin(*shape: int, dtype: torch.dtype = dtype) -> Tensor:
        return x.new_empty(shape, dtype=dtype)

    return (
        thin(rows, dtype=torch.float32),
        thin(rows, dtype=torch.float32),
        thin(rows if scaling != "none" else 0, dtype=torch.float32),
        thin(rows, hidden),
        thin(rows if scaling == "input" else 0, hidden),
        thin(rows, 3 * hidden),
        thin(frames + 1, clips * tokens, hidden),
    )


def backward(grad: Tensor, x: Tensor, kept: list[Tensor], *rest: Any) -> tuple[Tensor | None, ...]:
    """Give the gradients of x and of the twelve weights."""
    from peclip_fast.kernels import temporal_adapter as forward_kernels
    from peclip_fast.kernels import temporal_adapter_backward as kernels

    *weights, scaling, dtype = rest
    gamma, beta, scale, _, down, _, weight_ih, weight_hh, _, bias_hh, up, up_bias = _cast(
        weights, dtype
    )
    dx, of_up, of_down, of_ih, of_hh = kernels.backward(
        grad, x, forward_kernels.Saved(*kept), gamma, scale, down, weight_ih, weight_hh, bias_hh,
        up, up_bias, scaling,
    )  # fmt: skip
    return dx, *kernels.weight_gradients(of_up, of_down, of_ih, of_hh, gamma, beta, scale, down)


register("triton", forward, backward, saved, _SAVED)
