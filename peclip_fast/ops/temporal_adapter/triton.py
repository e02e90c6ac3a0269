"""The temporal adapter on the Triton kernels of peclip_fast.kernels.temporal_adapter."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from peclip_fast.ops.declared import Kernel, declare
from peclip_fast.ops.devices import triton_missing
from peclip_fast.ops.temporal_adapter.backend import out_dtype, register, unit_stride
from peclip_fast.ops.temporal_adapter.weights import EPSILON, OP, TemporalWeights

declare(
    OP,
    "triton",
    Kernel(
        devices=("cuda",),
        missing=triton_missing,
        verified=False,  # never run on a GPU
        width=(16, 4096),
        hidden=(1, 192),
        frames=(1, 2**31 - 1),
        capability=(8, 0),
    ),
)


class SavedByTriton(NamedTuple):
    """What the forward pass keeps for the backward one; thin tensors are (T * B * L, .)."""

    mean: Tensor
    rstd: Tensor
    s: Tensor
    d: Tensor
    fed: Tensor
    """What the GRU was fed where that isn't d (scaling "input"), else empty; so is s for "none"."""
    gates: Tensor
    g: Tensor
    """(T + 1, B * L, h): g[0] is the zero state, g[t + 1] the state after frame t."""


def saved_like(
    x: Tensor, weights: TemporalWeights, scaling: str, dtype: torch.dtype
) -> SavedByTriton:
    """What `forward` fills."""
    clips, frames, tokens, _ = x.shape
    rows, hidden = clips * frames * tokens, weights.down_weight.shape[0]

    def thin(*shape: int, dtype: torch.dtype = dtype) -> Tensor:
        return x.new_empty(shape, dtype=dtype)

    return SavedByTriton(
        mean=thin(rows, dtype=torch.float32),
        rstd=thin(rows, dtype=torch.float32),
        s=thin(rows if scaling != "none" else 0, dtype=torch.float32),
        d=thin(rows, hidden),
        fed=thin(rows if scaling == "input" else 0, hidden),
        gates=thin(rows, 3 * hidden),
        g=thin(frames + 1, clips * tokens, hidden),
    )


def _cast(weights: TemporalWeights, dtype: torch.dtype) -> TemporalWeights:
    """The LayerNorm's weights as they come, the others as the products take them."""
    of_products = (w if w is None else w.to(dtype).contiguous() for w in weights[2:])
    ready: list[Any] = [*(w.contiguous() for w in weights[:2]), *of_products]
    return TemporalWeights(*ready)


def forward(
    x: Tensor, residual: Tensor | None, weights: TemporalWeights, scaling: str,
    dtype: torch.dtype, save: bool,
) -> tuple[Tensor, SavedByTriton | None]:  # fmt: skip
    """Give the output and, if `save`, what the backward pass needs."""
    from peclip_fast.kernels import temporal_adapter as kernels

    y = torch.empty(x.shape, dtype=out_dtype(x, residual, dtype), device=x.device)
    kept = saved_like(x, weights, scaling, dtype)
    kernels.forward(
        unit_stride(x), None if residual is None else unit_stride(residual),
        _cast(weights, dtype), scaling, EPSILON, y, kept,
    )  # fmt: skip
    return y, kept if save else None


def backward(
    grad: Tensor, x: Tensor, kept: SavedByTriton, weights: TemporalWeights, scaling: str,
    dtype: torch.dtype,
) -> tuple[Tensor, TemporalWeights]:  # fmt: skip
    """Give the gradients of x and of the weights."""
    from peclip_fast.kernels import temporal_adapter_backward as kernels

    weights = _cast(weights, dtype)
    dx, sums = kernels.backward(unit_stride(grad), unit_stride(x), kept, weights, scaling)
    return dx, TemporalWeights(*kernels.weight_gradients(sums, weights))


register("triton", forward, backward, saved_like, SavedByTriton)
