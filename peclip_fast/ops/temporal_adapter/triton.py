"""The temporal adapter on the Triton kernels of peclip_fast.kernels.temporal_adapter."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from peclip_fast.ops.declared import Kernel, declare
from peclip_fast.ops.devices import triton_missing
from peclip_fast.ops.packing import pack, packed_size, unpack
from peclip_fast.ops.temporal_adapter.backend import (
    PackedGradients,
    out_dtype,
    register,
    unit_stride,
)
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
    cast: Tensor
    """The weights of products as these take them, where that isn't how they come."""


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
        cast=thin(packed_size(_of_products(weights), dtype)),
    )


def _of_products(weights: TemporalWeights) -> list[Tensor]:
    """Those of products, which are cast; the LayerNorm's are taken as they come."""
    return [w for w in weights[2:] if w is not None]


def _ready(weights: TemporalWeights, cast: Tensor) -> TemporalWeights:
    """The weights as the kernels take them."""
    parts = iter(unpack(cast, _of_products(weights)))
    ready: list[Any] = [w.contiguous() for w in weights[:2]]
    return TemporalWeights(*ready, *(None if w is None else next(parts) for w in weights[2:]))


def forward(
    x: Tensor, residual: Tensor | None, weights: TemporalWeights, scaling: str,
    dtype: torch.dtype, save: bool,
) -> tuple[Tensor, SavedByTriton | None]:  # fmt: skip
    """Give the output and, if `save`, what the backward pass needs."""
    from peclip_fast.kernels import temporal_adapter as kernels

    y = torch.empty(x.shape, dtype=out_dtype(x, residual, dtype), device=x.device)
    kept = saved_like(x, weights, scaling, dtype)._replace(
        cast=pack(_of_products(weights), dtype)
    )  # fmt: skip
    kernels.forward(
        unit_stride(x), None if residual is None else unit_stride(residual),
        _ready(weights, kept.cast), scaling, EPSILON, y, kept,
    )  # fmt: skip
    return y, kept if save else None


def backward(
    grad: Tensor, x: Tensor, kept: SavedByTriton, weights: TemporalWeights, scaling: str,
    dtype: torch.dtype,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """Give the gradient of x, and those of the weights in two tensors."""
    from peclip_fast.kernels import temporal_adapter_backward as kernels

    ready = _ready(weights, kept.cast)
    return kernels.backward(unit_stride(grad), unit_stride(x), kept, ready, scaling)


def _backward_like(x: Tensor, weights: TemporalWeights) -> tuple[Tensor, Tensor, Tensor]:
    from peclip_fast.kernels import temporal_adapter_weights as kernels

    hidden, width = weights.down_weight.shape
    sums, down = (
        x.new_empty(size, dtype=torch.float32) for size in kernels.gradient_sizes(width, hidden)
    )
    return x.new_empty(x.shape), sums, down


def _unpack(results: tuple[Tensor, ...], weights: TemporalWeights) -> list[Tensor | None]:
    from peclip_fast.kernels import temporal_adapter_weights as kernels

    dx, sums, down = results
    gradients = kernels.split_gradients(sums, down, weights)
    return [
        dx, *(None if w is None else g.to(w.dtype) for g, w in zip(gradients, weights, strict=True))
    ]  # fmt: skip


register(
    "triton",
    forward,
    backward,
    saved_like,
    SavedByTriton,
    packed=PackedGradients(3, _backward_like, _unpack),
)
