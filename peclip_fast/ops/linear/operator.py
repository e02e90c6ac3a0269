"""Products with frozen weights."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from peclip_fast.errors import InputError
from peclip_fast.ops import backends, extension
from peclip_fast.ops.declared import Kernel, declare
from peclip_fast.ops.dtypes import product_dtype
from peclip_fast.ops.implementations import run, with_gradients
from peclip_fast.ops.products import STEP, product
from peclip_fast.ops.register import register

OP = "linear"


def linear(x: Tensor, weight: Tensor, bias: Tensor, *, backend: str = "auto") -> Tensor:
    """x (..., K) -> W x + b, (..., N), of a frozen weight.

    Args:
        x: (..., K), any leading shape.
        weight, bias: (N, K) and (N,), the layout of nn.Linear.
        backend: ``auto``, ``reference`` (F.linear), ``cpu``, for bfloat16 and float32, or
            ``triton``: PyTorch's product, of a frozen weight that is cast once. The cpu backend
            gives no gradients of the weights; where one is asked for, ``auto`` takes the reference.

    Under autocast it computes in autocast's dtype, as F.linear does.

    Raises:
        InputError: a tensor has the wrong shape, or `backend` can't run this.
    """
    if weight.dim() != 2 or x.shape[-1:] != weight.shape[1:] or bias.shape != weight.shape[:1]:
        raise InputError(
            f"{OP}: x has shape {tuple(x.shape)}, weight {tuple(weight.shape)} and bias "
            f"{tuple(bias.shape)}, expected (..., K), (N, K) and (N,)"
        )
    if backend != "reference":
        dtype = product_dtype(x)
        columns, depth = weight.shape
        chosen = backends.select(OP, backend, x.device, dtype, depth, columns)
        tensors = {"x": x, "weight": weight, "bias": bias}
        chosen = with_gradients(OP, backend, chosen, tensors)
        if chosen != "reference":
            save = torch.is_grad_enabled() and any(t.requires_grad for t in tensors.values())
            options = {"dtype": dtype, "save": save}
            out: Tensor = run(OP, chosen, {**tensors, "x": x.to(dtype), **options})
            return out
    return F.linear(x, weight, bias)


def _forward(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    rows = x.reshape(-1, x.shape[-1])
    return product(rows, weight, bias).view(*x.shape[:-1], len(weight))


def _forward_like(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return x.new_empty(*x.shape[:-1], weight.shape[0])


def _backward(grad: Tensor, weight: Tensor) -> Tensor:
    dx = product(grad.reshape(-1, grad.shape[-1]), weight, by_rows=True)
    return dx.view(*grad.shape[:-1], weight.shape[1])


def _backward_like(grad: Tensor, weight: Tensor) -> Tensor:
    return grad.new_empty(*grad.shape[:-1], weight.shape[1])


declare(
    OP,
    "cpu",
    Kernel(
        ("cpu",), extension.missing, verified=True,
        dtypes=(torch.bfloat16, torch.float32), width_step=STEP, hidden_step=STEP,
    ),
)  # fmt: skip
register(
    OP,
    "cpu",
    forward=_forward,
    forward_like=_forward_like,
    backward=_backward,
    backward_like=_backward_like,
    gradients=("x",),
)
