"""Products with frozen weights."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from peclip_fast.errors import InputError
from peclip_fast.ops import backends

OP = "linear"
STEP = 32  # rows and columns of a weight come in multiples of it on AMX
_FEW = 64  # rows


def linear(x: Tensor, weight: Tensor, bias: Tensor, *, backend: str = "auto") -> Tensor:
    """x (..., K) -> W x + b, (..., N), of a frozen weight.

    Args:
        x: (..., K), any leading shape.
        weight, bias: (N, K) and (N,), the layout of nn.Linear.
        backend: ``auto``, ``reference`` (F.linear) or ``cpu``, which multiplies bfloat16 on AMX and
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
        dtype = backends.product_dtype(x)
        columns, depth = weight.shape
        chosen = backends.select(OP, backend, x.device, dtype, depth, columns)
        chosen = backends.frozen(OP, backend, chosen, (weight, bias))
        if chosen == "cpu":
            backends.refuse_forward_mode(OP, chosen, (x, weight, bias))
            return torch.ops.peclip_fast.linear_cpu(x.to(dtype), weight, bias)
    return F.linear(x, weight, bias)


def product(
    x: Tensor, weight: Tensor, bias: Tensor | None = None, *, by_rows: bool = False,
    added: tuple[Tensor, ...] = (), out: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """x (n, K) times weight (N, K) transposed, or times (K, N) `by_rows`, on the CPU.

    On AMX where it takes the dtype and sizes, by PyTorch otherwise. At most two contiguous tensors
    (n, N) are added; the result has x's dtype, or the one that theirs promote it to.
    """
    if takes(x, weight) and all(t.dtype == x.dtype for t in added):
        from peclip_fast import _C

        columns = weight.shape[1] if by_rows else weight.shape[0]
        out = x.new_empty(len(x), columns) if out is None else out
        x, weight = x.contiguous(), weight.contiguous()
        bias = None if bias is None else bias.float().contiguous()
        first, second, *_ = (*(t.data_ptr() for t in added), 0, 0)
        _C.linear_cpu(
            len(x), x.data_ptr(), weight_parts(weight, by_rows=by_rows),
            0 if bias is None else bias.data_ptr(), (first, second), out.data_ptr(),
            torch.get_num_threads(),
        )  # fmt: skip
        return out
    weight = weight.to(x.dtype)
    matrix, rest = weight if by_rows else weight.mT, added
    term = None if bias is None else bias.to(x.dtype)
    # With few rows BLAS starts a sum at the term, which makes each step's rounding as large as it.
    few = by_rows and len(x) < _FEW
    if term is None and added and added[0].dtype == x.dtype and not few:
        term, rest = added[0], added[1:]
    given = None if rest else out
    y = torch.mm(x, matrix, out=given) if term is None else torch.addmm(term, x, matrix, out=given)
    for t in rest:
        y = y + t
    return out.copy_(y) if rest and out is not None else y


def weight_gradient(dy: Tensor, x: Tensor) -> Tensor:
    """dy (n, N) transposed times x (n, K), on the CPU: fastest where dy is the narrower."""
    widths = (dy.shape[1], x.shape[1])
    if (
        len(x) == 0
        or (x.dtype, dy.dtype) != (torch.bfloat16, torch.bfloat16)
        or any(width % STEP for width in widths)
        or (dy.stride(1), x.stride(1)) != (1, 1)
        or amx_missing()
    ):
        return dy.mT @ x
    from peclip_fast import _C

    out = x.new_empty(widths)
    _C.weight_gradient_cpu(
        (len(x), *widths), dy.data_ptr(), dy.stride(0), x.data_ptr(), x.stride(0),
        out.data_ptr(), torch.get_num_threads(),
    )  # fmt: skip
    return out


def sum_of_rows(rows: Tensor) -> Tensor:
    """Over the first dimension, on the CPU.

    PyTorch's own sum of low precision is many times slower there than a product.
    """
    return rows.sum(0) if rows.dtype == torch.float32 else rows.new_ones(rows.shape[0]) @ rows


def takes(x: Tensor, *weights: Tensor) -> bool:
    """Whether AMX multiplies x with the weights."""
    sizes = not any(size % STEP for weight in weights for size in weight.shape)
    dtypes = all(weight.dtype in (torch.bfloat16, torch.float32) for weight in weights)
    return x.dtype == torch.bfloat16 and dtypes and sizes and amx_missing() is None


def weight_parts(weight: Tensor, *, by_rows: bool = False) -> tuple[int, int, int, bool, bool]:
    """A contiguous weight as struct Weight in csrc/linear.h."""
    depth, columns = weight.shape if by_rows else weight.shape[::-1]
    return depth, columns, weight.data_ptr(), by_rows, weight.dtype == torch.float32


def amx_missing() -> str | None:
    """Why bfloat16 can't be multiplied on the CPU's matrix unit, or None."""
    if reason := backends.extension_missing():
        return reason
    from peclip_fast import _C

    return _C.amx_missing() or None


backends.declare(
    OP,
    "cpu",
    backends.Kernel(
        ("cpu",), amx_missing, dtypes=(torch.bfloat16,), width_step=STEP, hidden_step=STEP
    ),
)

_library = torch.library.Library("peclip_fast", "FRAGMENT")
_library.define(f"{OP}_cpu(Tensor x, Tensor weight, Tensor bias) -> Tensor")
_library.define(f"{OP}_cpu_backward(Tensor grad, Tensor weight, ScalarType dtype) -> Tensor")


def _forward(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    rows = x.reshape(-1, x.shape[-1])
    return product(rows, weight, bias).view(*x.shape[:-1], len(weight))


def _backward(grad: Tensor, weight: Tensor, dtype: torch.dtype) -> Tensor:
    rows = grad.reshape(-1, grad.shape[-1]).to(dtype)
    dx = product(rows, weight, by_rows=True)
    return dx.view(*grad.shape[:-1], weight.shape[1])


def _setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
    ctx.save_for_backward(inputs[1])
    ctx.dtype = output.dtype


def _autograd(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    (weight,) = ctx.saved_tensors
    return torch.ops.peclip_fast.linear_cpu_backward(grad, weight, ctx.dtype), None, None


_library.impl(f"{OP}_cpu", _forward, "CPU")
_library.impl(f"{OP}_cpu_backward", _backward, "CPU")
torch.library.register_fake(
    f"peclip_fast::{OP}_cpu",
    lambda x, weight, _: x.new_empty(*x.shape[:-1], weight.shape[0]),
    lib=_library,
)
torch.library.register_fake(
    f"peclip_fast::{OP}_cpu_backward",
    lambda grad, weight, dtype: grad.new_empty(*grad.shape[:-1], weight.shape[1], dtype=dtype),
    lib=_library,
)
torch.library.register_autograd(
    f"peclip_fast::{OP}_cpu", _autograd, setup_context=_setup_context, lib=_library
)
backends.refuse_second_derivatives(_library, OP, "cpu")
