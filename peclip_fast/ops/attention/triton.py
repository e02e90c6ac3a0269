"""Self-attention on the Triton kernels of peclip_fast.kernels.attention."""

from __future__ import annotations

import torch
from torch import Tensor

from peclip_fast.ops.declared import Kernel, declare
from peclip_fast.ops.devices import triton_missing
from peclip_fast.ops.register import register

OP = "attention"


def _forward(qkv: Tensor, heads: int, causal: bool, save: bool) -> tuple[Tensor, Tensor]:
    from peclip_fast.kernels import attention as kernels

    out, lse = _forward_like(qkv, heads, causal, save)
    kernels.forward(qkv, heads, causal, out, lse)
    return out, lse


def _forward_like(qkv: Tensor, heads: int, causal: bool, save: bool) -> tuple[Tensor, Tensor]:
    """The output, and the logarithms of the softmax's sums if the backward pass needs them."""
    images, tokens, width = qkv.shape
    sums = (images, heads, tokens) if save else (0,)
    return qkv.new_empty(images, tokens, width // 3), qkv.new_empty(sums, dtype=torch.float32)


def _backward(
    grad: Tensor, qkv: Tensor, result: Tensor, lse: Tensor, heads: int, causal: bool
) -> Tensor:
    from peclip_fast.kernels import attention as kernels

    dqkv = _backward_like(grad, qkv, result, lse, heads, causal)
    kernels.backward(grad.to(qkv.dtype), qkv, result, lse, heads, causal, dqkv)
    return dqkv


def _backward_like(
    grad: Tensor, qkv: Tensor, result: Tensor, lse: Tensor, heads: int, causal: bool
) -> Tensor:
    return qkv.new_empty(qkv.shape)


declare(
    OP,
    "triton",
    Kernel(
        devices=("cuda",),
        missing=triton_missing,
        verified=False,  # never run on a GPU
        width=(1, 128),
        frames=(1, 2**31 - 1),
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
    gradients=("qkv",),
    saved=("lse",),
)
