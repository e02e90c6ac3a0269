"""Triton: self-attention on packed queries, keys and values, and its gradient, packed as well.

Floor. Of N images with L tokens of width D in bf16 the products are 4 N L^2 D flops forward and, as
scores and probabilities are formed again, 10 N L^2 D back, on 8 N L D bytes forward and 18 back.
For 32 clips of 16 frames on ViT-B/16 (N = 512, L = 199, D = 768) those are 62 and 156 GFLOP, 79 us
and 197 us at 790 TFLOP/s, against 0.63 and 1.4 GB, 146 us and 327 us at 4.3 TB/s: both are about
memory at a tensor core's full speed, and about the products at the half of it that kernels reach.

Forward: a program owns a block of queries of one head and goes through the keys, with the softmax
computed as it goes (FlashAttention, arXiv 2205.14135). Backward: a program owns a block of tokens,
first as keys, then as queries, and writes their parts of the gradient where the packed tensor has
them. So nothing is stacked and copied afterwards, as it is after three gradients from PyTorch's
own, and nothing is added by atomics: a result has the same bits every time. It costs scores and
their gradient formed twice, 14 N L^2 D flops. The sum of a row of gradient times output, which the
softmax's derivative needs, is formed where it is used, from rows that come from the cache.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from peclip_fast.kernels.tiles import (
    dot,
    launch_options,
    load_tile,
    on_device,
    precision,
    round_to,
)

LOG2_E = tl.constexpr(1.4426950408889634)


class Blocks(NamedTuple):
    """Tokens that a program owns, and those that it takes at a time as it goes through the rest."""

    own: int
    step: int
    warps: int
    stages: int


class Config(NamedTuple):
    forward: Blocks
    backward: Blocks


# (width of a head at most, bytes of an element) -> config; the first row that fits is taken.
CONFIGS = {
    (64, 2): Config(Blocks(64, 32, 4, 2), Blocks(64, 32, 8, 2)),
    (128, 2): Config(Blocks(64, 32, 4, 2), Blocks(32, 32, 8, 2)),
    (64, 4): Config(Blocks(32, 32, 8, 1), Blocks(32, 16, 4, 1)),
    (128, 4): Config(Blocks(32, 16, 8, 1), Blocks(16, 16, 8, 1)),
}


def config(width: int, dtype: torch.dtype) -> Config:
    """Block sizes for heads of this width."""
    size = dtype.itemsize
    return next(found for (most, of), found in CONFIGS.items() if width <= most and size == of)


@triton.jit
def _rows(ptr, token, stride, tokens, n, W: tl.constexpr, WP: tl.constexpr):
    return load_tile(ptr, token, stride, tokens, True, n, 1, W, WP > W)


@triton.jit
def attention_kernel(
    qkv_ptr, out_ptr, lse_ptr, tokens, heads, image_stride, token_stride, scale,
    W: tl.constexpr, WP: tl.constexpr, CAUSAL: tl.constexpr, SAVE: tl.constexpr,
    PRECISION: tl.constexpr, M: tl.constexpr, N: tl.constexpr,
):  # fmt: skip
    """`scale` is 1 / sqrt(W) times log2(e): the softmax is of powers of 2, and so is lse."""
    dtype = qkv_ptr.dtype.element_ty
    image = tl.program_id(1).to(tl.int64) // heads
    head = tl.program_id(1) % heads
    width = heads * W
    q_ptr = qkv_ptr + image * image_stride + head * W
    row = tl.program_id(0) * M + tl.arange(0, M).to(tl.int64)
    n = tl.arange(0, WP)
    q = _rows(q_ptr, row, token_stride, tokens, n, W, WP)
    largest = tl.full((M,), float("-inf"), tl.float32)
    total = tl.zeros((M,), tl.float32)
    out = tl.zeros((M, WP), tl.float32)
    end = tokens
    if CAUSAL:
        end = tl.minimum(tokens, (tl.program_id(0) + 1) * M)
    for start in range(0, end, N):
        key = start + tl.arange(0, N).to(tl.int64)
        k = _rows(q_ptr + width, key, token_stride, tokens, n, W, WP)
        v = _rows(q_ptr + 2 * width, key, token_stride, tokens, n, W, WP)
        scores = dot(q, tl.trans(k), tl.zeros((M, N), tl.float32), PRECISION) * scale
        seen = key[None, :] < tokens
        if CAUSAL:
            seen = seen & (key[None, :] <= row[:, None])
        scores = tl.where(seen, scores, float("-inf"))
        before = largest
        largest = tl.maximum(before, tl.max(scores, 1))
        share = tl.exp2(scores - largest[:, None])
        shrink = tl.exp2(before - largest)
        total = total * shrink + tl.sum(share, 1)
        out = dot(round_to(share, dtype), v, out * shrink[:, None], PRECISION)
    out = round_to(out / total[:, None], dtype)
    at = (image * tokens + row[:, None]) * width + head * W + n[None, :]
    tl.store(out_ptr + at, out, mask=(row[:, None] < tokens) & (n[None, :] < W))
    if SAVE:
        at = tl.program_id(1).to(tl.int64) * tokens + row
        tl.store(lse_ptr + at, largest + tl.log2(total), mask=row < tokens)


@triton.jit
def _shares(
    scores, lse, query, key, tokens, exponent, CAUSAL: tl.constexpr
):  # fmt: skip
    """The softmax of a tile of q' k, whose sides are given as they lie in it."""
    seen = (query < tokens) & (key < tokens)
    if CAUSAL:
        seen = seen & (key <= query)
    return tl.where(seen, tl.exp2(scores * exponent - lse), 0.0)


@triton.jit
def _as_keys(
    q_ptr, grad_ptr, out_ptr, lse_ptr, dk_ptr, own, begin, tokens, width,
    token_stride, grad_stride, scale, n, keep,
    W: tl.constexpr, WP: tl.constexpr, CAUSAL: tl.constexpr,
    PRECISION: tl.constexpr, OWN: tl.constexpr, STEP: tl.constexpr,
):  # fmt: skip
    """The gradients of the own keys and values, from all queries that see them."""
    dtype = q_ptr.dtype.element_ty
    k = _rows(q_ptr + width, own, token_stride, tokens, n, W, WP)
    v = _rows(q_ptr + 2 * width, own, token_stride, tokens, n, W, WP)
    dk = tl.zeros((OWN, WP), tl.float32)
    dv = tl.zeros((OWN, WP), tl.float32)
    for start in range(begin, tokens, STEP):
        row = start + tl.arange(0, STEP).to(tl.int64)
        q = _rows(q_ptr, row, token_stride, tokens, n, W, WP)
        grad = _rows(grad_ptr, row, grad_stride, tokens, n, W, WP)
        out = _rows(out_ptr, row, width, tokens, n, W, WP)
        along = tl.sum(grad.to(tl.float32) * out.to(tl.float32), 1)
        lse = tl.load(lse_ptr + row, mask=row < tokens, other=0.0)
        scores = dot(k, tl.trans(q), tl.zeros((OWN, STEP), tl.float32), PRECISION)
        share = _shares(
            scores, lse[None, :], row[None, :], own[:, None], tokens, scale * LOG2_E, CAUSAL
        )
        dv = dot(round_to(share, dtype), grad, dv, PRECISION)
        dshare = dot(v, tl.trans(grad), tl.zeros((OWN, STEP), tl.float32), PRECISION)
        dk = dot(round_to(share * (dshare - along[None, :]), dtype), q, dk, PRECISION)
    tl.store(dk_ptr, round_to(dk * scale, dtype), mask=keep)
    tl.store(dk_ptr + width, round_to(dv, dtype), mask=keep)


@triton.jit
def _as_queries(
    q_ptr, grad_ptr, out_ptr, lse_ptr, dq_ptr, own, end, tokens, width,
    token_stride, grad_stride, scale, n, keep,
    W: tl.constexpr, WP: tl.constexpr, CAUSAL: tl.constexpr,
    PRECISION: tl.constexpr, OWN: tl.constexpr, STEP: tl.constexpr,
):  # fmt: skip
    """The gradient of the own queries, from all keys that they see."""
    dtype = q_ptr.dtype.element_ty
    q = _rows(q_ptr, own, token_stride, tokens, n, W, WP)
    grad = _rows(grad_ptr, own, grad_stride, tokens, n, W, WP)
    out = _rows(out_ptr, own, width, tokens, n, W, WP)
    along = tl.sum(grad.to(tl.float32) * out.to(tl.float32), 1)
    lse = tl.load(lse_ptr + own, mask=own < tokens, other=0.0)
    dq = tl.zeros((OWN, WP), tl.float32)
    for start in range(0, end, STEP):
        key = start + tl.arange(0, STEP).to(tl.int64)
        k = _rows(q_ptr + width, key, token_stride, tokens, n, W, WP)
        v = _rows(q_ptr + 2 * width, key, token_stride, tokens, n, W, WP)
        scores = dot(q, tl.trans(k), tl.zeros((OWN, STEP), tl.float32), PRECISION)
        share = _shares(
            scores, lse[:, None], own[:, None], key[None, :], tokens, scale * LOG2_E, CAUSAL
        )
        dshare = dot(grad, tl.trans(v), tl.zeros((OWN, STEP), tl.float32), PRECISION)
        dq = dot(round_to(share * (dshare - along[:, None]), dtype), k, dq, PRECISION)
    tl.store(dq_ptr, round_to(dq * scale, dtype), mask=keep)


@triton.jit
def attention_backward_kernel(
    grad_ptr, qkv_ptr, out_ptr, lse_ptr, dqkv_ptr,
    tokens, heads, grad_image_stride, grad_token_stride, image_stride, token_stride, scale,
    W: tl.constexpr, WP: tl.constexpr, CAUSAL: tl.constexpr,
    PRECISION: tl.constexpr, OWN: tl.constexpr, STEP: tl.constexpr,
):  # fmt: skip
    image = tl.program_id(1).to(tl.int64) // heads
    head = tl.program_id(1) % heads
    width = heads * W
    q_ptr = qkv_ptr + image * image_stride + head * W
    grad_ptr += image * grad_image_stride + head * W
    out_ptr += image * tokens * width + head * W
    lse_ptr += tl.program_id(1).to(tl.int64) * tokens
    first = tl.program_id(0) * OWN
    own = first + tl.arange(0, OWN).to(tl.int64)
    n = tl.arange(0, WP)
    into_ptr = dqkv_ptr + (image * tokens + own[:, None]) * (3 * width) + head * W + n[None, :]
    keep = (own[:, None] < tokens) & (n[None, :] < W)
    begin, end = 0, tokens
    if CAUSAL:
        begin = first
        end = tl.minimum(tokens, first + OWN)
    _as_keys(
        q_ptr, grad_ptr, out_ptr, lse_ptr, into_ptr + width, own, begin, tokens, width,
        token_stride, grad_token_stride, scale, n, keep, W, WP, CAUSAL, PRECISION, OWN, STEP,
    )  # fmt: skip
    _as_queries(
        q_ptr, grad_ptr, out_ptr, lse_ptr, into_ptr, own, end, tokens, width,
        token_stride, grad_token_stride, scale, n, keep, W, WP, CAUSAL, PRECISION, OWN, STEP,
    )  # fmt: skip


def _unit_stride(t: Tensor) -> Tensor:
    return t if t.stride(-1) == 1 else t.contiguous()


def forward(qkv: Tensor, heads: int, causal: bool, out: Tensor, lse: Tensor) -> None:
    """qkv (N, L, 3D) -> `out` (N, L, D) and, where it isn't empty, `lse` (N, heads, L) fp32."""
    images, tokens, width = qkv.shape[0], qkv.shape[1], qkv.shape[2] // (3 * heads)
    if images == 0:
        return
    qkv, blocks = _unit_stride(qkv), config(width, qkv.dtype).forward
    with on_device(qkv):
        attention_kernel[(triton.cdiv(tokens, blocks.own), images * heads)](
            qkv, out, lse, tokens, heads, *qkv.stride()[:2], width**-0.5 * LOG2_E.value,
            W=width, WP=_padded(width), CAUSAL=causal, SAVE=lse.numel() > 0,
            PRECISION=precision(), M=blocks.own, N=blocks.step,
            **launch_options(blocks.warps, blocks.stages, qkv.dtype),
        )  # fmt: skip


def backward(
    grad: Tensor, qkv: Tensor, out: Tensor, lse: Tensor, heads: int, causal: bool, dqkv: Tensor
) -> None:
    """grad (N, L, D), and what `forward` took and gave -> `dqkv` (N, L, 3D), contiguous."""
    images, tokens, width = qkv.shape[0], qkv.shape[1], qkv.shape[2] // (3 * heads)
    if images == 0:
        return
    grad, qkv = _unit_stride(grad), _unit_stride(qkv)
    blocks = config(width, qkv.dtype).backward
    with on_device(qkv):
        attention_backward_kernel[(triton.cdiv(tokens, blocks.own), images * heads)](
            grad, qkv, out, lse, dqkv,
            tokens, heads, *grad.stride()[:2], *qkv.stride()[:2], width**-0.5,
            W=width, WP=_padded(width), CAUSAL=causal,
            PRECISION=precision(), OWN=blocks.own, STEP=blocks.step,
            **launch_options(blocks.warps, blocks.stages, qkv.dtype),
        )  # fmt: skip


def _padded(width: int) -> int:
    return max(16, triton.next_power_of_2(width))
