"""The MLP of a block on the Triton kernels of peclip_fast.kernels.feed_forward.

The two products are cuBLAS's. What stands between them is one pass each way, and keeps the first
product alone for the backward pass.
"""

from __future__ import annotations

import torch
from torch import Tensor

from peclip_fast.ops.declared import Kernel, declare
from peclip_fast.ops.devices import triton_missing
from peclip_fast.ops.implementations import implement, refuse_forward_mode
from peclip_fast.ops.linear.triton import linear
from peclip_fast.ops.register import register

OP = "feed_forward"


def feed_forward(
    x: Tensor, in_weight: Tensor, in_bias: Tensor, out_weight: Tensor, out_bias: Tensor,
    activation: str, dtype: torch.dtype,
) -> Tensor:  # fmt: skip
    """See the operator; all tensors have gradients."""
    refuse_forward_mode(OP, "triton", (x, in_weight, in_bias, out_weight, out_bias))
    hidden = linear(x, in_weight, None, dtype)
    return linear(_activate(hidden, in_bias, activation), out_weight, out_bias, dtype)


def _activate(hidden: Tensor, bias: Tensor, activation: str) -> Tensor:
    trained = torch.is_grad_enabled() and bias.requires_grad
    activated: Tensor = _operator(hidden, bias, activation, trained)
    return activated


def _forward(hidden: Tensor, bias: Tensor, activation: str, trained: bool) -> Tensor:
    from peclip_fast.kernels import feed_forward as kernels

    out = _forward_like(hidden, bias, activation, trained)
    kernels.forward(hidden, bias, activation, out)
    return out


def _forward_like(hidden: Tensor, bias: Tensor, activation: str, trained: bool) -> Tensor:
    return hidden.new_empty(hidden.shape)


def _backward(
    grad: Tensor, hidden: Tensor, bias: Tensor, activation: str, trained: bool
) -> tuple[Tensor, Tensor]:
    from peclip_fast.kernels import feed_forward as kernels

    dhidden, dbias = _backward_like(grad, hidden, bias, activation, trained)
    kernels.backward(grad, hidden, bias, activation, dhidden)
    if trained:
        rows = dhidden.reshape(-1, dhidden.shape[-1])
        dbias.copy_(rows.sum(0, dtype=torch.float32))
    return dhidden, dbias


def _backward_like(
    grad: Tensor, hidden: Tensor, bias: Tensor, activation: str, trained: bool
) -> tuple[Tensor, Tensor]:
    """The gradients of the first product and, where that is trained, of its bias."""
    return hidden.new_empty(hidden.shape), bias.new_empty(bias.shape if trained else (0,))


declare(
    OP,
    "triton",
    Kernel(
        devices=("cuda",),
        missing=triton_missing,
        verified=False,  # never run on a GPU
        capability=(8, 0),
    ),
)
_operator = register(
    OP,
    "triton",
    forward=_forward,
    forward_like=_forward_like,
    backward=_backward,
    backward_like=_backward_like,
    gradients=("hidden", "bias"),
)
implement(OP, "triton", feed_forward)  # what was registered is a part of it
