"""Products on the CPU: on its matrix unit (AMX) where that takes the dtype and sizes."""

from __future__ import annotations

import torch
from torch import Tensor

from peclip_fast.ops import extension

STEP = 32  # rows and columns of a weight come in multiples of it on AMX
FEW_ROWS = 64


def product(
    x: Tensor, weight: Tensor, bias: Tensor | None = None, *, by_rows: bool = False,
    added: tuple[Tensor, ...] = (), out: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """x (n, K) times weight (N, K) transposed, or times (K, N) `by_rows`, on the CPU.

    On AMX where it takes the dtype and sizes, by PyTorch otherwise. At most two contiguous tensors
    (n, N) are added; the result has x's dtype, or the one that theirs promote it to.
    """
    if takes(x, weight) and all(t.dtype == x.dtype for t in added):
        columns = weight.shape[1] if by_rows else weight.shape[0]
        out = x.new_empty(len(x), columns) if out is None else out
        x, weight = x.contiguous(), weight.contiguous()
        bias = None if bias is None else bias.float().contiguous()
        first, second, *_ = (*(t.data_ptr() for t in added), 0, 0)
        extension.load().linear_cpu(
            len(x), x.data_ptr(), weight_parts(weight, by_rows=by_rows),
            0 if bias is None else bias.data_ptr(), (first, second), out.data_ptr(),
            torch.get_num_threads(),
        )  # fmt: skip
        return out
    weight = weight.to(x.dtype)
    matrix, rest = weight if by_rows else weight.mT, added
    term = None if bias is None else bias.to(x.dtype)
    # With few rows BLAS starts a sum at the term, which makes each step's rounding as large as it.
    few = by_rows and len(x) < FEW_ROWS
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
        or extension.amx_missing()
    ):
        return dy.mT @ x
    out = x.new_empty(widths)
    extension.load().weight_gradient_cpu(
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
    return x.dtype == torch.bfloat16 and dtypes and sizes and extension.amx_missing() is None


def weight_parts(weight: Tensor, *, by_rows: bool = False) -> tuple[int, int, int, bool, bool]:
    """A contiguous weight as struct Weight in csrc/cpu/linear/linear.h."""
    depth, columns = weight.shape if by_rows else weight.shape[::-1]
    return depth, columns, weight.data_ptr(), by_rows, weight.dtype == torch.float32
