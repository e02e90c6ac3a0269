"""The temporal adapter's Triton kernels as operators of torch.library."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from peclip_fast.ops import backends

OP = "temporal_adapter"

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

_WEIGHTS = (
    "Tensor norm_weight, Tensor norm_bias, Tensor? scale_weight, Tensor? scale_bias,"
    " Tensor down_weight, Tensor down_bias, Tensor weight_ih, Tensor weight_hh,"
    " Tensor bias_ih, Tensor bias_hh, Tensor up_weight, Tensor up_bias"
)
_library = torch.library.Library("peclip_fast", "FRAGMENT")
_library.define(
    f"temporal_adapter_triton(Tensor x, Tensor? residual, {_WEIGHTS}, str scaling)"
    " -> (Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor)"
)
_library.define(
    f"temporal_adapter_triton_backward(Tensor dy, Tensor x, Tensor[] saved, {_WEIGHTS},"
    " str scaling) -> (Tensor, Tensor, Tensor, Tensor, Tensor)"
)


def run(
    x: Tensor,
    residual: Tensor | None,
    weights: tuple[Tensor | None, ...],
    scaling: str,
    dtype: torch.dtype,
) -> Tensor:
    """The operator on checked tensors, its products in `dtype`, the LayerNorm as it comes."""
    norm, others = weights[:2], weights[2:]
    cast = (None if w is None else w.to(dtype).contiguous() for w in others)
    return torch.ops.peclip_fast.temporal_adapter_triton(x, residual, *norm, *cast, scaling)[0]


def _out_dtype(x: Tensor, residual: Tensor | None, weight: Tensor) -> torch.dtype:
    dtype = torch.promote_types(x.dtype, weight.dtype)
    return dtype if residual is None else torch.promote_types(dtype, residual.dtype)


def _forward(x: Tensor, residual: Tensor | None, *weights_and_scaling: Any) -> tuple[Tensor, ...]:
    from peclip_fast.kernels import temporal_adapter as kernels

    out_dtype = _out_dtype(x, residual, weights_and_scaling[4])
    arguments: Any = (x, residual, *weights_and_scaling, out_dtype)
    y, saved = kernels.forward(*arguments)
    return y, *saved


def _backward(
    dy: Tensor, x: Tensor, saved: list[Tensor], *weights_and_scaling: Any
) -> tuple[Tensor, ...]:
    from peclip_fast.kernels import temporal_adapter as forward_kernels
    from peclip_fast.kernels import temporal_adapter_backward as kernels

    *weights, scaling = weights_and_scaling
    gamma, _, scale, _, down, _, weight_ih, weight_hh, _, bias_hh, up, up_bias = weights
    return kernels.backward(
        dy, x, forward_kernels.Saved(*saved), gamma, scale, down, weight_ih, weight_hh, bias_hh,
        up, up_bias, scaling,
    )  # fmt: skip


# CUDA for the GPU; CPU for Triton's interpreter, which `backends` lets through only when it is on.
for _key in ("CUDA", "CPU"):
    _library.impl("temporal_adapter_triton", _forward, _key)
    _library.impl("temporal_adapter_triton_backward", _backward, _key)


@torch.library.register_fake("peclip_fast::temporal_adapter_triton", lib=_library)
def _forward_fake(
    x: Tensor, residual: Tensor | None, *weights_and_scaling: Any
) -> tuple[Tensor, ...]:
    *weights, scaling = weights_and_scaling
    clips, frames, tokens, _ = x.shape
    rows, hidden = clips * frames * tokens, weights[4].shape[0]
    thin = weights[4].new_empty
    return (
        x.new_empty(x.shape, dtype=_out_dtype(x, residual, weights[4])),
        x.new_empty(rows, dtype=torch.float32),
        x.new_empty(rows, dtype=torch.float32),
        x.new_empty(rows if scaling != "none" else 0, dtype=torch.float32),
        thin(rows, hidden),
        thin(rows if scaling == "input" else 0, hidden),
        thin(rows, 3 * hidden),
        thin(frames + 1, clips * tokens, hidden),
    )


@torch.library.register_fake("peclip_fast::temporal_adapter_triton_backward", lib=_library)
def _backward_fake(
    dy: Tensor, x: Tensor, saved: list[Tensor], *weights_and_scaling: Any
) -> tuple[Tensor, ...]:
    hidden, width = weights_and_scaling[4].shape
    sums = (
        x.new_empty(wide * hidden + wide + hidden + 1, dtype=torch.float32)
        for wide in (width, width, 3 * hidden, 3 * hidden)
    )
    return x.new_empty(x.shape), *sums


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    x, residual, *weights, scaling = inputs
    ctx.save_for_backward(x, *weights, *output[1:])
    ctx.mark_non_differentiable(*output[1:])
    ctx.scaling = scaling
    ctx.residual_dtype = None if residual is None else residual.dtype


def _autograd(ctx: Any, dy: Tensor, *_: Tensor | None) -> tuple[Tensor | None, ...]:
    from peclip_fast.kernels.temporal_adapter_backward import weight_gradients

    x, *tensors = ctx.saved_tensors
    weights, saved = tensors[:12], tensors[12:]
    dx, *sums = torch.ops.peclip_fast.temporal_adapter_triton_backward(
        dy, x, saved, *weights, ctx.scaling
    )
    gamma, beta, scale, _, down, *_ = weights
    dresidual = None if ctx.residual_dtype is None else dy.to(ctx.residual_dtype)
    return dx, dresidual, *weight_gradients(tuple(sums), gamma, beta, scale, down), None


torch.library.register_autograd(
    "peclip_fast::temporal_adapter_triton", _autograd, setup_context=_setup_context, lib=_library
)
backends.refuse_second_derivatives(_library, OP, "triton")
