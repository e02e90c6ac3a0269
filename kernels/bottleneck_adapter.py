"""Triton: ``y = residual + skip * x + scale * (W_u GELU(W_d x + b_d) + b_u)`` and its gradients.

Floor. With M rows of width D and e bytes an element, the forward must read x and the residual and
write y: 3 M D e bytes, and the backward must read x and the gradient g and write dx: 3 M D e again.
The products are 4 M D h flops forward and 12 M D h backward. For 8 clips of 16 frames on ViT-B/16
(M = 25,472, D = 768, h = 96, bf16) that is 117 MB each way, 27 us at 4.3 TB/s, against 7.5 GFLOP
(10 us at 790 TFLOP/s) and 23 GFLOP (29 us): forward and backward are both about memory.

Forward, one kernel. A program takes a block of rows, walks D once for the down projection with the
hidden in registers, and once more for the up projection, where the rows of x it just read come
from L2. Memory moves the floor's bytes once (L2 holds the weights) as far as L2 also holds the rows
in flight: with three programs on each multiprocessor of an H200 they are 39 of its 50 MB.

Backward, three kernels. ``rows`` recomputes the hidden from x and writes dx, GELU(u) and du, the
gradient of u = W_d x + b_d; ``weights`` forms du^T x and g^T GELU(u) for groups of rows; ``reduce``
adds the groups in a fixed order, so that the gradients are the same bits every time. Memory moves
5 M D e + 4 M h e bytes and the partial sums (about 1.7 floors). Keeping u from the forward pass
instead would add M h e to write and as many to read, and save only products.

h is cut in two chunks of a power of two (96 = 64 + 32, 48 = 32 + 16, 192 = 128 + 64), so the
paper's sizes pad nothing and none above 35 pads more than a third.

The block sizes below were chosen from these numbers and from the compiler's report (registers,
shared memory, no spills), not yet from a clock: no GPU has run them.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from peclip_fast.kernels.tiles import (
    as_rows,
    chunks,
    dot,
    gelu,
    gelu_slope,
    launch_options,
    load_tile,
    on_device,
    precision,
    reduce_groups,
    round_to,
)


class Blocks(NamedTuple):
    """A tile of `m` rows by `n` columns, `k` of them at a time in the inner loop, for `warps`."""

    m: int
    n: int
    k: int
    warps: int
    stages: int


class Config(NamedTuple):
    forward: Blocks
    rows: Blocks
    weights: Blocks


# (h at most, bytes of an element of the weights) -> config; the first row that fits is taken.
# 16-bit: tensor cores. 32-bit: fp32 products on the ordinary cores, whose operands fill registers.
CONFIGS = {
    (96, 2): Config(
        forward=Blocks(64, 64, 64, warps=4, stages=3),
        rows=Blocks(32, 64, 32, warps=4, stages=3),
        weights=Blocks(64, 64, 0, warps=4, stages=3),
    ),
    (192, 2): Config(
        forward=Blocks(64, 64, 64, warps=8, stages=2),
        rows=Blocks(32, 64, 32, warps=8, stages=2),
        weights=Blocks(32, 64, 0, warps=8, stages=2),
    ),
    (320, 2): Config(
        forward=Blocks(32, 32, 32, warps=4, stages=2),
        rows=Blocks(32, 32, 32, warps=8, stages=2),
        weights=Blocks(32, 32, 0, warps=8, stages=2),
    ),
    (96, 4): Config(
        forward=Blocks(32, 32, 32, warps=4, stages=2),
        rows=Blocks(32, 32, 32, warps=4, stages=2),
        weights=Blocks(32, 32, 0, warps=4, stages=2),
    ),
    (320, 4): Config(
        forward=Blocks(16, 32, 16, warps=8, stages=2),
        rows=Blocks(16, 32, 16, warps=8, stages=2),
        weights=Blocks(16, 32, 0, warps=8, stages=2),
    ),
}

MAX_GROUPS = 32
ROWS_PER_GROUP = 512


def config(hidden: int, dtype: torch.dtype) -> Config:
    size = dtype.itemsize
    return next(c for (most, bytes_), c in CONFIGS.items() if hidden <= most and bytes_ == size)


@triton.jit
def forward_kernel(
    x_ptr, residual_ptr, down_weight_ptr, down_bias_ptr, up_weight_ptr, up_bias_ptr, y_ptr,
    rows, x_stride, residual_stride, scale,
    D: tl.constexpr, H: tl.constexpr, H0: tl.constexpr, H1: tl.constexpr,
    SKIP: tl.constexpr, RESIDUAL: tl.constexpr, PRECISION: tl.constexpr,
    M: tl.constexpr, N: tl.constexpr, K: tl.constexpr,
):  # fmt: skip
    dtype = down_weight_ptr.dtype.element_ty
    row = tl.program_id(0).to(tl.int64) * M + tl.arange(0, M)
    j0 = tl.arange(0, H0)
    u0 = tl.zeros((M, H0), tl.float32)
    if H1 > 0:
        j1 = H0 + tl.arange(0, H1)
        u1 = tl.zeros((M, H1), tl.float32)

    for start in range(0, D, K):
        k = start + tl.arange(0, K)
        x = round_to(load_tile(x_ptr, row, x_stride, rows, True, k, 1, D, D % K > 0), dtype)
        w0 = load_tile(down_weight_ptr, k, 1, D, D % K > 0, j0, D, H, H0 > H)
        u0 = dot(x, w0, u0, PRECISION)
        if H1 > 0:
            w1 = load_tile(down_weight_ptr, k, 1, D, D % K > 0, j1, D, H, H0 + H1 > H)
            u1 = dot(x, w1, u1, PRECISION)

    b0 = tl.load(down_bias_ptr + j0, mask=j0 < H, other=0.0)
    a0 = round_to(gelu(u0 + b0[None, :]), dtype)
    if H1 > 0:
        b1 = tl.load(down_bias_ptr + j1, mask=j1 < H, other=0.0)
        a1 = round_to(gelu(u1 + b1[None, :]), dtype)

    for start in range(0, D, N):
        n = start + tl.arange(0, N)
        w0 = load_tile(up_weight_ptr, j0, 1, H, H0 > H, n, H, D, D % N > 0)
        y = dot(a0, w0, tl.zeros((M, N), tl.float32), PRECISION)
        if H1 > 0:
            w1 = load_tile(up_weight_ptr, j1, 1, H, H0 + H1 > H, n, H, D, D % N > 0)
            y = dot(a1, w1, y, PRECISION)
        y = (y + tl.load(up_bias_ptr + n, mask=n < D, other=0.0)[None, :]) * scale
        if SKIP:
            y += load_tile(x_ptr, row, x_stride, rows, True, n, 1, D, D % N > 0)
        if RESIDUAL:
            y += load_tile(residual_ptr, row, residual_stride, rows, True, n, 1, D, D % N > 0)
        y = round_to(y, y_ptr.dtype.element_ty)
        keep = (row[:, None] < rows) & (n[None, :] < D)
        tl.store(y_ptr + row[:, None] * D + n[None, :], y, mask=keep)


@triton.jit
def _finish_hidden(u, da, j, down_bias_ptr, a_ptr, du_ptr, row, rows, scale, H: tl.constexpr):
    """Store GELU(u) and du for one chunk of h; give du in the dtype of the products."""
    u += tl.load(down_bias_ptr + j, mask=j < H, other=0.0)[None, :]
    dtype = a_ptr.dtype.element_ty
    du = round_to(da * scale * gelu_slope(u), dtype)
    at = row[:, None] * H + j[None, :]
    keep = (row[:, None] < rows) & (j[None, :] < H)
    tl.store(a_ptr + at, round_to(gelu(u), dtype), mask=keep)
    tl.store(du_ptr + at, du, mask=keep)
    return du


@triton.jit
def rows_kernel(
    grad_ptr, x_ptr, down_weight_ptr, down_bias_ptr, up_weight_ptr, dx_ptr, a_ptr, du_ptr,
    rows, grad_stride, x_stride, scale,
    D: tl.constexpr, H: tl.constexpr, H0: tl.constexpr, H1: tl.constexpr,
    SKIP: tl.constexpr, PRECISION: tl.constexpr,
    M: tl.constexpr, N: tl.constexpr, K: tl.constexpr,
):  # fmt: skip
    dtype = down_weight_ptr.dtype.element_ty
    row = tl.program_id(0).to(tl.int64) * M + tl.arange(0, M)
    j0 = tl.arange(0, H0)
    u0 = tl.zeros((M, H0), tl.float32)
    da0 = tl.zeros((M, H0), tl.float32)
    if H1 > 0:
        j1 = H0 + tl.arange(0, H1)
        u1 = tl.zeros((M, H1), tl.float32)
        da1 = tl.zeros((M, H1), tl.float32)

    for start in range(0, D, K):
        k = start + tl.arange(0, K)
        x = round_to(load_tile(x_ptr, row, x_stride, rows, True, k, 1, D, D % K > 0), dtype)
        g = load_tile(grad_ptr, row, grad_stride, rows, True, k, 1, D, D % K > 0)
        g = round_to(g, dtype)
        w0 = load_tile(down_weight_ptr, k, 1, D, D % K > 0, j0, D, H, H0 > H)
        u0 = dot(x, w0, u0, PRECISION)
        v0 = load_tile(up_weight_ptr, k, H, D, D % K > 0, j0, 1, H, H0 > H)
        da0 = dot(g, v0, da0, PRECISION)
        if H1 > 0:
            w1 = load_tile(down_weight_ptr, k, 1, D, D % K > 0, j1, D, H, H0 + H1 > H)
            u1 = dot(x, w1, u1, PRECISION)
            v1 = load_tile(up_weight_ptr, k, H, D, D % K > 0, j1, 1, H, H0 + H1 > H)
            da1 = dot(g, v1, da1, PRECISION)

    du0 = _finish_hidden(u0, da0, j0, down_bias_ptr, a_ptr, du_ptr, row, rows, scale, H)
    if H1 > 0:
        du1 = _finish_hidden(u1, da1, j1, down_bias_ptr, a_ptr, du_ptr, row, rows, scale, H)

    for start in range(0, D, N):
        n = start + tl.arange(0, N)
        w0 = load_tile(down_weight_ptr, j0, D, H, H0 > H, n, 1, D, D % N > 0)
        dx = dot(du0, w0, tl.zeros((M, N), tl.float32), PRECISION)
        if H1 > 0:
            w1 = load_tile(down_weight_ptr, j1, D, H, H0 + H1 > H, n, 1, D, D % N > 0)
            dx = dot(du1, w1, dx, PRECISION)
        if SKIP:
            dx += load_tile(grad_ptr, row, grad_stride, rows, True, n, 1, D, D % N > 0)
        dx = round_to(dx, dx_ptr.dtype.element_ty)
        keep = (row[:, None] < rows) & (n[None, :] < D)
        tl.store(dx_ptr + row[:, None] * D + n[None, :], dx, mask=keep)


@triton.jit
def _weight_partial(
    wide_ptr, wide_stride, thin_ptr, start, end, factor, weight_ptr, n_stride, j_stride,
    wide_bias_ptr, thin_bias_ptr, THIN_BIAS: tl.constexpr,
    D: tl.constexpr, H: tl.constexpr, H0: tl.constexpr, H1: tl.constexpr,
    PRECISION: tl.constexpr, M: tl.constexpr, N: tl.constexpr,
):  # fmt: skip
    """wide^T thin over the rows start..end, and the column sums of one of the two.

    `wide` is x or the gradient (D columns, N of them here), `thin` is du or GELU(u) (h columns).
    """
    dtype = thin_ptr.dtype.element_ty
    n = tl.program_id(1) * N + tl.arange(0, N)
    j0 = tl.arange(0, H0)
    w0 = tl.zeros((N, H0), tl.float32)
    wide_sum = tl.zeros((N,), tl.float32)
    thin_sum0 = tl.zeros((H0,), tl.float32)
    if H1 > 0:
        j1 = H0 + tl.arange(0, H1)
        w1 = tl.zeros((N, H1), tl.float32)
        thin_sum1 = tl.zeros((H1,), tl.float32)

    for first in range(start, end, M):
        row = first + tl.arange(0, M).to(tl.int64)
        wide = load_tile(wide_ptr, row, wide_stride, end, True, n, 1, D, D % N > 0)
        thin0 = load_tile(thin_ptr, row, H, end, True, j0, 1, H, H0 > H)
        across = tl.trans(round_to(wide, dtype))
        w0 = dot(across, thin0, w0, PRECISION)
        if THIN_BIAS:
            thin_sum0 += tl.sum(thin0.to(tl.float32), 0)
        else:
            wide_sum += tl.sum(wide.to(tl.float32), 0)
        if H1 > 0:
            thin1 = load_tile(thin_ptr, row, H, end, True, j1, 1, H, H0 + H1 > H)
            w1 = dot(across, thin1, w1, PRECISION)
            if THIN_BIAS:
                thin_sum1 += tl.sum(thin1.to(tl.float32), 0)

    at = weight_ptr + n[:, None] * n_stride
    inside = n[:, None] < D
    tl.store(at + j0[None, :] * j_stride, w0 * factor, mask=inside & (j0[None, :] < H))
    if H1 > 0:
        tl.store(at + j1[None, :] * j_stride, w1 * factor, mask=inside & (j1[None, :] < H))
    if THIN_BIAS:
        if tl.program_id(1) == 0:
            tl.store(thin_bias_ptr + j0, thin_sum0, mask=j0 < H)
            if H1 > 0:
                tl.store(thin_bias_ptr + j1, thin_sum1, mask=j1 < H)
    else:
        tl.store(wide_bias_ptr + n, wide_sum * factor, mask=n < D)


@triton.jit
def weights_kernel(
    grad_ptr, x_ptr, a_ptr, du_ptr, partial_ptr,
    rows, grad_stride, x_stride, rows_per_group, scale,
    D: tl.constexpr, H: tl.constexpr, H0: tl.constexpr, H1: tl.constexpr,
    PRECISION: tl.constexpr, M: tl.constexpr, N: tl.constexpr,
):  # fmt: skip
    """Grid (groups, column blocks, 2). A group's partial is [dW_d | db_d | dW_u | db_u], fp32."""
    group = tl.program_id(0).to(tl.int64)
    start = group * rows_per_group
    end = tl.minimum(start + rows_per_group, rows)
    down_weight = partial_ptr + group * (2 * D * H + D + H)
    down_bias = down_weight + D * H
    up_weight = down_bias + H
    up_bias = up_weight + D * H
    if tl.program_id(2) == 0:
        _weight_partial(
            x_ptr, x_stride, du_ptr, start, end, 1.0, down_weight, 1, D, up_bias, down_bias, True,
            D, H, H0, H1, PRECISION, M, N,
        )  # fmt: skip
    else:
        _weight_partial(
            grad_ptr, grad_stride, a_ptr, start, end, scale, up_weight, H, 1, up_bias, down_bias,
            False, D, H, H0, H1, PRECISION, M, N,
        )  # fmt: skip


def forward(
    x: Tensor,
    down_weight: Tensor,
    down_bias: Tensor,
    up_weight: Tensor,
    up_bias: Tensor,
    residual: Tensor | None,
    skip: bool,
    scale: float,
    out_dtype: torch.dtype,
) -> Tensor:
    """x, residual (..., D) of any of fp32, bf16, fp16 -> y (..., D), contiguous, of `out_dtype`.

    The weights (nn.Linear's layouts, contiguous, all of one dtype) say the dtype of the products.
    """
    hidden, width = down_weight.shape
    h0, h1 = chunks(hidden)
    blocks = config(hidden, down_weight.dtype).forward
    y = torch.empty(x.shape, dtype=out_dtype, device=x.device)
    x = as_rows(x)
    res = x if residual is None else as_rows(residual)
    if x.shape[0] == 0:
        return y
    with on_device(x):
        forward_kernel[(triton.cdiv(x.shape[0], blocks.m),)](
            x, res, down_weight, down_bias, up_weight, up_bias, y,
            x.shape[0], x.stride(0), res.stride(0), scale,
            D=width, H=hidden, H0=h0, H1=h1,
            SKIP=skip, RESIDUAL=residual is not None, PRECISION=precision(),
            M=blocks.m, N=blocks.n, K=blocks.k,
            **launch_options(blocks.warps, blocks.stages, down_weight.dtype),
        )  # fmt: skip
    return y


def backward(
    grad: Tensor,
    x: Tensor,
    down_weight: Tensor,
    down_bias: Tensor,
    up_weight: Tensor,
    skip: bool,
    scale: float,
    flat_dtype: torch.dtype,
) -> tuple[Tensor, Tensor]:
    """dx (..., D) in x's dtype, and [dW_d | db_d | dW_u | db_u] flat in `flat_dtype`."""
    hidden, width = down_weight.shape
    h0, h1 = chunks(hidden)
    dtype = down_weight.dtype
    dx = torch.empty(x.shape, dtype=x.dtype, device=x.device)
    count = 2 * width * hidden + width + hidden
    x, grad = as_rows(x), as_rows(grad)
    rows = x.shape[0]
    if rows == 0:
        return dx, torch.zeros(count, dtype=flat_dtype, device=x.device)
    _, row_blocks, weight_blocks = config(hidden, dtype)
    # The groups depend only on the sizes, so every machine adds in the same order.
    groups = min(MAX_GROUPS, triton.cdiv(rows, ROWS_PER_GROUP))
    rows_per_group = triton.cdiv(triton.cdiv(rows, groups), weight_blocks.m) * weight_blocks.m
    groups = triton.cdiv(rows, rows_per_group)
    a, du = torch.empty((2, rows, hidden), dtype=dtype, device=x.device)
    partial = torch.empty((groups, count), dtype=torch.float32, device=x.device)
    with on_device(x):
        rows_kernel[(triton.cdiv(rows, row_blocks.m),)](
            grad, x, down_weight, down_bias, up_weight, dx, a, du,
            rows, grad.stride(0), x.stride(0), scale,
            D=width, H=hidden, H0=h0, H1=h1, SKIP=skip, PRECISION=precision(),
            M=row_blocks.m, N=row_blocks.n, K=row_blocks.k,
            **launch_options(row_blocks.warps, row_blocks.stages, dtype),
        )  # fmt: skip
        weights_kernel[(groups, triton.cdiv(width, weight_blocks.n), 2)](
            grad, x, a, du, partial, rows, grad.stride(0), x.stride(0), rows_per_group, scale,
            D=width, H=hidden, H0=h0, H1=h1, PRECISION=precision(),
            M=weight_blocks.m, N=weight_blocks.n,
            **launch_options(weight_blocks.warps, weight_blocks.stages, dtype),
        )  # fmt: skip
        flat = reduce_groups(partial, flat_dtype)
    return dx, flat
