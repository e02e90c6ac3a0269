"""LayerNorm of a residual stream on the Triton kernels of peclip_fast.kernels.layer_norm."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from peclip_fast.ops.declared import Kernel, declare
from peclip_fast.ops.devices import triton_missing
from peclip_fast.ops.dtypes import promoted
from peclip_fast.ops.implementations import implement, refuse_forward_mode
from peclip_fast.ops.layer_norm.reference import OP
from peclip_fast.ops.register import define, refuse_second_derivatives

declare(
    OP,
    "triton",
    Kernel(
        devices=("cuda",),
        missing=triton_missing,
        verified=False,  # never run on a GPU
        width=(1, 8192),
        capability=(8, 0),
    ),
)


def layer_norm(
    x: Tensor, weight: Tensor, bias: Tensor, residual: Tensor | None, learned: Tensor | None,
    start: int, eps: float, dtype: torch.dtype,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """See the operator; the arguments fit, and `dtype` is the LayerNorm's."""
    refuse_forward_mode(OP, "triton", (x, weight, bias, residual, learned))
    if learned is not None:
        learned = learned.expand(len(x), -1, -1)
    stream, normed = _LayerNorm.apply(x, weight, bias, residual, learned, start, eps, dtype)
    return stream, normed


class _LayerNorm(torch.autograd.Function):
    """What takes the gradients of both results at once.

    The stream may be x itself, which an operator of torch.library must not give back.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, residual: Tensor | None,
        learned: Tensor | None, start: int, eps: float, dtype: torch.dtype,
    ) -> tuple[Tensor, Tensor]:  # fmt: skip
        stream, normed, moments = _forward_operator(
            x, weight, bias, residual, learned, start, eps, dtype
        )
        if residual is None and learned is None:
            stream = x
        ctx.save_for_backward(stream, weight, moments)
        ctx.tokens = 0 if learned is None else learned.shape[1]
        ctx.start = start
        others = (x, residual, learned, weight, bias)
        ctx.dtypes = tuple(None if t is None else t.dtype for t in others)
        ctx.set_materialize_grads(False)
        return stream, normed

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        dstream, dnormed = grads
        stream, weight, moments = ctx.saved_tensors
        if dstream is None and dnormed is None:
            return (None,) * 8
        for_x, for_weight, for_bias, for_residual, for_learned = ctx.needs_input_grad[:5]
        dx, dlearned, dweight, dbias = _backward_operator(
            dnormed, dstream, stream, weight, moments, ctx.start, ctx.tokens,
            ctx.dtypes[2] or stream.dtype, for_weight or for_bias,
        )  # fmt: skip
        wanted = (for_x, for_residual, for_learned, for_weight, for_bias)
        answers = [
            gradient.to(dtype) if want else None
            for gradient, want, dtype in zip(
                (dx, dx, dlearned, dweight, dbias), wanted, ctx.dtypes, strict=True
            )
        ]
        to_x, to_residual, to_learned, to_weight, to_bias = answers
        return to_x, to_weight, to_bias, to_residual, to_learned, None, None, None


def _forward(
    x: Tensor, weight: Tensor, bias: Tensor, residual: Tensor | None, learned: Tensor | None,
    start: int, eps: float, dtype: torch.dtype,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    from peclip_fast.kernels import layer_norm as kernels

    results = _forward_like(x, weight, bias, residual, learned, start, eps, dtype)
    kernels.forward(x, weight, bias, residual, learned, start, eps, *results)
    return results


def _forward_like(
    x: Tensor, weight: Tensor, bias: Tensor, residual: Tensor | None, learned: Tensor | None,
    start: int, eps: float, dtype: torch.dtype,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """The stream where that isn't x, its LayerNorm, and each row's mean and 1 / std."""
    changed = residual is not None or learned is not None
    return (
        x.new_empty(x.shape if changed else (0,), dtype=promoted(x, residual)),
        x.new_empty(x.shape, dtype=dtype),
        x.new_empty(2, x.numel() // x.shape[-1], dtype=torch.float32),
    )


def _backward(
    dnormed: Tensor | None, dstream: Tensor | None, stream: Tensor, weight: Tensor,
    moments: Tensor, start: int, tokens: int, learned: torch.dtype, trained: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    from peclip_fast.kernels import layer_norm as kernels

    results = _backward_like(
        dnormed, dstream, stream, weight, moments, start, tokens, learned, trained
    )  # fmt: skip
    kernels.backward(dnormed, dstream, stream, weight, moments, start, *results)
    return results


def _backward_like(
    dnormed: Tensor | None, dstream: Tensor | None, stream: Tensor, weight: Tensor,
    moments: Tensor, start: int, tokens: int, learned: torch.dtype, trained: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    """The gradients of the stream as it came, of learned tokens, and of the trained weights."""
    width = stream.shape[-1]

    dlearned = (len(stream), tokens, width) if tokens else (0,)
    dweight, dbias = (
        stream.new_empty(width if trained else 0, dtype=torch.float32) for _ in range(2)
    )
    return (
        stream.new_empty(stream.shape), stream.new_empty(dlearned, dtype=learned), dweight, dbias
    )  # fmt: skip


_forward_operator = define(f"{OP}_triton", _forward, _forward_like, "triton")
_backward_operator = define(f"{OP}_triton_backward", _backward, _backward_like, "triton")
refuse_second_derivatives(OP, "triton")
implement(OP, "triton", layer_norm)
