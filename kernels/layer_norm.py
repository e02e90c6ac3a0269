"""Triton: ``s = x + residual``, learned tokens put into it, and LayerNorm(s), with gradients.

Floor. With M rows of width D and e bytes an element, the forward pass must read x and the residual
and write s and LayerNorm(s): 4 M D e bytes, and 2 M D e where s is x. The backward pass must read
s and the gradients of both results and write one: 4 M D e. Arithmetic is a few tens of flops an
element, so both are about memory: for 32 clips of 16 frames on ViT-B/16 (M = 101,888, D = 768,
bf16) M D e is 156.5 MB, 36 us at 4.3 TB/s, and a LayerNorm of x takes two of them and four back.

A program has whole rows in its registers and goes through memory once, both ways: that is the
floor, with 8 bytes a row for the mean and 1 / std. PyTorch's own under autocast casts to fp32 and
back and adds the residual and its gradient in passes of their own: 12 M D e and 14 M D e.

The gradients of the weights, where they are trained, are summed over groups of rows and then over
the groups, in an order that the sizes fix.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from peclip_fast.kernels.tiles import (
    as_rows,
    launch_options,
    load_row,
    load_tile,
    on_device,
    reduce_groups,
    round_to,
)

ELEMENTS = 4096  # of a program's tile, where one row has no more
ROWS_PER_GROUP, MAX_GROUPS = 128, 128  # of the weights' gradients


@triton.jit
def norm_kernel(
    x_ptr, residual_ptr, learned_ptr, weight_ptr, bias_ptr, stream_ptr, normed_ptr, moments_ptr,
    rows, x_stride, residual_stride, tokens, start, learned_image_stride, learned_stride, eps,
    D: tl.constexpr, P: tl.constexpr, RESIDUAL: tl.constexpr, M: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64) * M + tl.arange(0, M)
    n = tl.arange(0, BLOCK)
    keep = (row[:, None] < rows) & (n[None, :] < D)
    s = load_tile(x_ptr, row, x_stride, rows, True, n, 1, D, BLOCK > D).to(tl.float32)
    if RESIDUAL:
        s += load_tile(residual_ptr, row, residual_stride, rows, True, n, 1, D, BLOCK > D).to(
            tl.float32
        )
    if P > 0:
        place = row % tokens - start
        put = (place >= 0) & (place < P) & (row < rows)
        at = row // tokens * learned_image_stride + place * learned_stride
        new = tl.load(
            learned_ptr + at[:, None] + n[None, :], mask=put[:, None] & (n[None, :] < D), other=0.0
        )
        s = tl.where(put[:, None], new.to(tl.float32), s)
    at = row[:, None] * D + n[None, :]
    if RESIDUAL or P > 0:
        stored = round_to(s, stream_ptr.dtype.element_ty)
        tl.store(stream_ptr + at, stored, mask=keep)
        s = stored.to(tl.float32)  # the stream as all who go on with it see it
    mean = tl.sum(s, 1) / D
    centred = tl.where(n[None, :] < D, s - mean[:, None], 0.0)
    rstd = 1.0 / tl.sqrt(tl.sum(centred * centred, 1) / D + eps)
    y = centred * rstd[:, None] * load_row(weight_ptr, n, D)[None, :]
    y += load_row(bias_ptr, n, D)[None, :]
    tl.store(normed_ptr + at, round_to(y, normed_ptr.dtype.element_ty), mask=keep)
    tl.store(moments_ptr + row, mean, mask=row < rows)
    tl.store(moments_ptr + rows + row, rstd, mask=row < rows)


@triton.jit
def norm_backward_kernel(
    dnormed_ptr, dstream_ptr, stream_ptr, weight_ptr, moments_ptr, dx_ptr, dlearned_ptr,
    partial_ptr,
    rows, dnormed_stride, dstream_stride, stream_stride, tokens, start, rows_per_program,
    D: tl.constexpr, P: tl.constexpr, NORMED: tl.constexpr, STREAM: tl.constexpr,
    TRAINED: tl.constexpr, M: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """A program's partial is [dweight | dbias], fp32, where TRAINED."""
    n = tl.arange(0, BLOCK)
    program = tl.program_id(0).to(tl.int64)
    first = program * rows_per_program
    end = tl.minimum(first + rows_per_program, rows)
    if TRAINED:
        dweight = tl.zeros((M, BLOCK), tl.float32)
        dbias = tl.zeros((M, BLOCK), tl.float32)
    for base in range(first, end, M):
        row = base + tl.arange(0, M).to(tl.int64)
        keep = (row[:, None] < end) & (n[None, :] < D)
        at = row[:, None] * D + n[None, :]
        ds = tl.zeros((M, BLOCK), tl.float32)
        if NORMED:
            mean = tl.load(moments_ptr + row, mask=row < end, other=0.0)
            rstd = tl.load(moments_ptr + rows + row, mask=row < end, other=0.0)
            dy = load_tile(dnormed_ptr, row, dnormed_stride, end, True, n, 1, D, BLOCK > D)
            dy = dy.to(tl.float32)
            s = load_tile(stream_ptr, row, stream_stride, end, True, n, 1, D, BLOCK > D)
            unit = (s.to(tl.float32) - mean[:, None]) * rstd[:, None]
            unit = tl.where(n[None, :] < D, unit, 0.0)
            if TRAINED:
                dweight += dy * unit
                dbias += dy
            dy *= load_row(weight_ptr, n, D)[None, :]
            along = tl.sum(dy * unit, 1) / D
            ds = (dy - (tl.sum(dy, 1) / D)[:, None] - unit * along[:, None]) * rstd[:, None]
        if STREAM:
            more = load_tile(dstream_ptr, row, dstream_stride, end, True, n, 1, D, BLOCK > D)
            ds += more.to(tl.float32)
        if P > 0:
            place = row % tokens - start
            put = (place >= 0) & (place < P)
            into = (row // tokens * P + place) * D
            new = round_to(ds, dlearned_ptr.dtype.element_ty)
            tl.store(dlearned_ptr + into[:, None] + n[None, :], new, mask=keep & put[:, None])
            ds = tl.where(put[:, None], 0.0, ds)
        tl.store(dx_ptr + at, round_to(ds, dx_ptr.dtype.element_ty), mask=keep)
    if TRAINED:
        tl.store(partial_ptr + program * (2 * D) + n, tl.sum(dweight, 0), mask=n < D)
        tl.store(partial_ptr + program * (2 * D) + D + n, tl.sum(dbias, 0), mask=n < D)


def _tile(width: int, elements: int = ELEMENTS) -> tuple[int, int, int]:
    """Rows, padded columns and warps of a program."""
    block = triton.next_power_of_2(width)
    return max(1, min(64, elements // block)), block, 8 if block >= ELEMENTS else 4


def forward(
    x: Tensor, weight: Tensor, bias: Tensor, residual: Tensor | None, learned: Tensor | None,
    start: int, eps: float, stream: Tensor, normed: Tensor, moments: Tensor,
) -> None:  # fmt: skip
    """x, residual (..., D), learned (N, P, D) -> stream, normed (..., D), moments (2, M) fp32.

    The stream is written where it isn't x: with a residual or learned tokens.
    """
    width, count = x.shape[-1], 0 if learned is None else learned.shape[1]
    rows = x.numel() // width
    if rows == 0:
        return
    m, block, warps = _tile(width)
    tokens = x.shape[1] if count else 1
    x = as_rows(x)
    added = x if residual is None else as_rows(residual)
    put = x if learned is None else learned if learned.stride(2) == 1 else learned.contiguous()
    with on_device(x):
        norm_kernel[(triton.cdiv(rows, m),)](
            x, added, put, weight.contiguous(), bias.contiguous(), stream, normed, moments,
            rows, x.stride(0), added.stride(0), tokens, start,
            put.stride(0), put.stride(1) if count else 0, eps,
            D=width, P=count, RESIDUAL=residual is not None, M=m, BLOCK=block,
            **launch_options(warps, 1, x.dtype),
        )  # fmt: skip


def backward(
    dnormed: Tensor | None, dstream: Tensor | None, stream: Tensor, weight: Tensor,
    moments: Tensor, start: int, dx: Tensor, dlearned: Tensor, dweight: Tensor, dbias: Tensor,
) -> None:  # fmt: skip
    """Gradients of both results -> dx (..., D), dlearned (N, P, D), dweight and dbias (D,) fp32.

    A result without a gradient is None. dlearned, dweight and dbias are empty where none is wanted.
    """
    width = stream.shape[-1]
    rows = stream.numel() // width
    trained, count = len(dweight) > 0, dlearned.shape[1] if dlearned.dim() == 3 else 0
    if rows == 0:
        for none in (dlearned, dweight, dbias):
            none.zero_()
        return
    m, block, warps = _tile(width, ELEMENTS // 2)
    tokens = stream.shape[1] if count else 1
    stream = as_rows(stream)
    dy = stream if dnormed is None else as_rows(dnormed)
    ds = stream if dstream is None else as_rows(dstream)
    per_program = m
    if trained:  # The groups depend only on the sizes, so every machine adds in the same order.
        groups = min(MAX_GROUPS, triton.cdiv(rows, ROWS_PER_GROUP))
        per_program = triton.cdiv(triton.cdiv(rows, groups), m) * m
    programs = triton.cdiv(rows, per_program)
    partial = moments.new_empty(programs if trained else 0, 2 * width)
    with on_device(stream):
        norm_backward_kernel[(programs,)](
            dy, ds, stream, weight.contiguous(), moments, dx, dlearned, partial,
            rows, dy.stride(0), ds.stride(0), stream.stride(0), tokens, start, per_program,
            D=width, P=count, NORMED=dnormed is not None, STREAM=dstream is not None,
            TRAINED=trained, M=m, BLOCK=block,
            **launch_options(warps, 1, stream.dtype),
        )  # fmt: skip
        if trained:
            flat = reduce_groups(partial, torch.float32)
            dweight.copy_(flat[:width])
            dbias.copy_(flat[width:])
