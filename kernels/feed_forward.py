"""Triton: what stands between the two products of an MLP, ``act(hidden + bias)``, and its gradient.

Floor. With M rows of 4D hidden numbers of e bytes, the forward pass reads the first product and
writes what the second one takes: 8 M D e bytes. The backward pass reads the second product's
gradient and the first product again, and writes one gradient: 12 M D e. For 32 clips of 16 frames
on ViT-B/16 in bf16 (M D e = 156.5 MB) that is 1.25 GB, 291 us at 4.3 TB/s, and 1.88 GB, 437 us;
a dozen flops and one exponential an element hide behind it. PyTorch's QuickGELU takes three passes
forward and five back, and keeps four tensors of 4 M D e bytes; here the first product is all that
is kept.

A program has a tile of rows by columns, so that it loads the bias once. The products themselves
are cuBLAS's: they are half of a step, and tensor cores fed by Triton reach less of their peak.
"""

from __future__ import annotations

from typing import Any

import triton
import triton.language as tl
from torch import Tensor

from peclip_fast.kernels.tiles import (
    as_rows,
    gelu,
    gelu_slope,
    launch_options,
    load_row,
    load_tile,
    on_device,
    round_to,
)

ROWS, COLUMNS = 8, 512  # of a program's tile, at most


@triton.jit
def activate_kernel(
    hidden_ptr, bias_ptr, out_ptr, rows, hidden_stride, columns,
    QUICK: tl.constexpr, M: tl.constexpr, N: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64) * M + tl.arange(0, M)
    n = tl.program_id(1) * N + tl.arange(0, N)
    u = load_tile(hidden_ptr, row, hidden_stride, rows, True, n, 1, columns, True).to(tl.float32)
    u += load_row(bias_ptr, n, columns)[None, :]
    y = u * tl.sigmoid(1.702 * u) if QUICK else gelu(u)
    keep = (row[:, None] < rows) & (n[None, :] < columns)
    at = row[:, None] * columns + n[None, :]
    tl.store(out_ptr + at, round_to(y, out_ptr.dtype.element_ty), mask=keep)


@triton.jit
def activate_backward_kernel(
    grad_ptr, hidden_ptr, bias_ptr, out_ptr, rows, grad_stride, hidden_stride, columns,
    QUICK: tl.constexpr, M: tl.constexpr, N: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64) * M + tl.arange(0, M)
    n = tl.program_id(1) * N + tl.arange(0, N)
    u = load_tile(hidden_ptr, row, hidden_stride, rows, True, n, 1, columns, True).to(tl.float32)
    g = load_tile(grad_ptr, row, grad_stride, rows, True, n, 1, columns, True).to(tl.float32)
    u += load_row(bias_ptr, n, columns)[None, :]
    if QUICK:
        s = tl.sigmoid(1.702 * u)
        slope = s + u * (1.702 * s * (1.0 - s))  # of a large u it is 1, not inf times 0
    else:
        slope = gelu_slope(u)
    keep = (row[:, None] < rows) & (n[None, :] < columns)
    at = row[:, None] * columns + n[None, :]
    tl.store(out_ptr + at, round_to(g * slope, out_ptr.dtype.element_ty), mask=keep)


def forward(hidden: Tensor, bias: Tensor, activation: str, out: Tensor) -> None:
    """hidden (..., H), bias (H,) -> act(hidden + bias), contiguous, into `out`."""
    _launch(activate_kernel, (as_rows(hidden),), bias, activation, out)


def backward(grad: Tensor, hidden: Tensor, bias: Tensor, activation: str, out: Tensor) -> None:
    """The gradient of act(hidden + bias), (..., H), -> that of hidden, contiguous, into `out`."""
    _launch(activate_backward_kernel, (as_rows(grad), as_rows(hidden)), bias, activation, out)


def _launch(
    kernel: Any, operands: tuple[Tensor, ...], bias: Tensor, activation: str, out: Tensor
) -> None:
    rows, columns = operands[0].shape
    n = min(COLUMNS, triton.next_power_of_2(columns))
    if rows == 0:
        return
    with on_device(out):
        kernel[(triton.cdiv(rows, ROWS), triton.cdiv(columns, n))](
            *operands, bias.contiguous(), out, rows, *(t.stride(0) for t in operands), columns,
            QUICK=activation == "quick_gelu", M=ROWS, N=n,
            **launch_options(4, 1, out.dtype),
        )  # fmt: skip
