"""Triton: the Temporal Dynamic Adapter, for installations without the CUDA kernel.

With z = LN(x), s = ReLU(w_s z + b_s), d = W_d z + b_d and g the GRU's states over the T frames,
``y = residual + x + s * (W_u GELU(g) + b_u)`` and the other three places of s.

Floor. B * T * L = M rows of width D: read x and the residual, write y, 3 M D e bytes of e bytes an
element; backward reads x and dy and writes dx, 3 M D e again. The thin tensors (h = D / 8) come on
top of that. For 8 clips of 16 frames on ViT-B/16 in bf16 the floor is 117 MB, 27 us at 4.3 TB/s.

Forward, three kernels. ``down``: x -> mean, 1/std, s, d and the input half of the gates, all rows
in parallel. ``recurrence``: a program owns M sequences and goes through their T frames, state in
registers and W_hh loaded once where it fits on the chip. ``up``: GELU, up projection, s and both
sums. x is read twice (4 M D e), which is the price for a recurrence that touches only thin tensors
and a D-wide part that has all rows to spread over the GPU. Backward mirrors them (``up_backward``,
``recurrence_backward`` with the gates recomputed, ``down_backward``; in
temporal_adapter_backward.py) and ``products`` forms the weight gradients for groups of rows, added
in a fixed order: the same bits every time. d, g, the gates' input half and three numbers a row are
kept for it: 5 M h e bytes, against M D e to read x again. The gradients of the LayerNorm and of w_s
need no pass of their own: with x^ = (x - mean) / std, P = x^T dd and Q = x^T ds they are sums over
P and Q (see `weight_gradients`).

Thin tensors are time-major (T, B * L, .), so the state before a frame lies B * L rows up, and x, y
and their gradients are addressed by strides: no copy for any (B, T, L, D) layout of unit last
stride. h is padded to a power of two in the registers only. Not yet run or timed on a GPU.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from peclip_fast.kernels.tiles import (
    dot,
    gather,
    gelu,
    launch_options,
    load_row,
    on_device,
    precision,
    round_to,
    scatter,
    tanh,
)

if TYPE_CHECKING:
    from peclip_fast.ops.temporal_adapter.triton import SavedByTriton
    from peclip_fast.ops.temporal_adapter.weights import TemporalWeights


class Blocks(NamedTuple):
    """A program's rows, how many columns it takes at a time, its warps, and loads in flight."""

    rows: int
    columns: int
    warps: int
    stages: int


class Config(NamedTuple):
    wide: Blocks
    """Of the kernels that go along D."""
    recurrence: Blocks
    """16 sequences, the least a product can have; the columns are of h."""
    products: Blocks


# (padded h at most, bytes of an element of the weights) -> config; the first row that fits.
# Chosen from the compiler's report (registers, shared memory, no spills), not yet from a clock.
CONFIGS = {
    (64, 2): Config(Blocks(64, 64, 8, 3), Blocks(16, 32, 8, 2), Blocks(64, 64, 8, 3)),
    (128, 2): Config(Blocks(32, 64, 4, 3), Blocks(16, 32, 8, 3), Blocks(32, 32, 4, 3)),
    (256, 2): Config(Blocks(32, 32, 8, 3), Blocks(16, 16, 8, 3), Blocks(32, 32, 8, 3)),
    (64, 4): Config(Blocks(32, 32, 4, 3), Blocks(16, 16, 4, 2), Blocks(16, 32, 4, 3)),
    (128, 4): Config(Blocks(16, 32, 4, 3), Blocks(16, 16, 4, 2), Blocks(16, 32, 4, 3)),
    (256, 4): Config(Blocks(16, 16, 8, 3), Blocks(16, 16, 8, 2), Blocks(16, 16, 8, 3)),
}


def config(padded: int, dtype: torch.dtype) -> Config:
    size = dtype.itemsize
    return next(c for (most, bytes_), c in CONFIGS.items() if padded <= most and bytes_ == size)


def resident(padded: int, dtype: torch.dtype, device: torch.device) -> bool:
    """Whether W_hh stays on the chip: it fits with 32 KB of tiles (h = 96 on sm_80 and 90).

    fp32 products hold their operands in registers, where all of W_hh does not fit.
    """
    if dtype.itemsize > 2:
        return False
    if device.type != "cuda":  # the interpreter: some of both
        return padded <= 64
    # Not every torch says in its types that this is there.
    properties: Any = torch.cuda.get_device_properties(device)
    needed = 3 * padded * padded * dtype.itemsize + 32 * 1024
    return needed <= properties.shared_memory_per_block_optin


@triton.jit
def offsets(m, sequences, tokens, clip_stride, frame_stride, token_stride):
    """Where row m = (t, b, l) of the time-major order lies in a (B, T, L, .) tensor."""
    sequence = m % sequences
    return (
        (sequence // tokens) * clip_stride
        + (m // sequences) * frame_stride
        + (sequence % tokens) * token_stride
    )


@triton.jit
def down_kernel(
    x_ptr, norm_weight_ptr, norm_bias_ptr, scale_weight_ptr, scale_bias_ptr,
    down_weight_ptr, down_bias_ptr, weight_ih_ptr, bias_ih_ptr,
    mean_ptr, rstd_ptr, s_ptr, d_ptr, fed_ptr, gates_ptr,
    rows, sequences, tokens, clip_stride, frame_stride, token_stride, eps,
    D: tl.constexpr, H: tl.constexpr, HP: tl.constexpr, SCALING: tl.constexpr,
    PRECISION: tl.constexpr, M: tl.constexpr, K: tl.constexpr,
):  # fmt: skip
    dtype = down_weight_ptr.dtype.element_ty
    m = tl.program_id(0).to(tl.int64) * M + tl.arange(0, M)
    ok = m < rows
    at = offsets(m, sequences, tokens, clip_stride, frame_stride, token_stride)
    j = tl.arange(0, HP)

    # Mean and variance by merging blocks of columns (Chan): no cancellation for a large mean.
    mean = tl.zeros((M,), tl.float32)
    squares = tl.zeros((M,), tl.float32)
    for start in range(0, D, K):
        n = start + tl.arange(0, K)
        x = gather(x_ptr, at, ok, n, 1, D).to(tl.float32)
        count = tl.minimum(K, D - start)
        block_mean = tl.sum(x, 1) / count
        away = tl.where(n[None, :] < D, x - block_mean[:, None], 0.0)
        step = block_mean - mean
        squares += tl.sum(away * away, 1) + step * step * (start * count / (start + count))
        mean += step * (count / (start + count))
    rstd = 1.0 / tl.sqrt(squares / D + eps)
    tl.store(mean_ptr + m, mean, mask=ok)
    tl.store(rstd_ptr + m, rstd, mask=ok)

    d = tl.zeros((M, HP), tl.float32)
    s = tl.zeros((M,), tl.float32)
    for start in range(0, D, K):
        n = start + tl.arange(0, K)
        x = gather(x_ptr, at, ok, n, 1, D).to(tl.float32)
        z = (x - mean[:, None]) * rstd[:, None] * load_row(norm_weight_ptr, n, D)[None, :]
        z += load_row(norm_bias_ptr, n, D)[None, :]
        if SCALING != "none":
            s += tl.sum(z * load_row(scale_weight_ptr, n, D)[None, :], 1)
        w = gather(down_weight_ptr, n, n < D, j, D, H)
        d = dot(round_to(z, dtype), w, d, PRECISION)
    d += load_row(down_bias_ptr, j, H)[None, :]
    scatter(d_ptr, m * H, ok, j, H, d)
    if SCALING != "none":
        s = tl.maximum(s + tl.load(scale_bias_ptr).to(tl.float32), 0.0)
        tl.store(s_ptr + m, s, mask=ok)
    if SCALING == "input":
        d *= s[:, None]
        scatter(fed_ptr, m * H, ok, j, H, d)
    d = round_to(d, dtype)
    for start in range(0, 3 * H, K):
        n = start + tl.arange(0, K)
        w_ih = gather(weight_ih_ptr, j, j < H, n, H, 3 * H)
        gates = dot(d, w_ih, tl.zeros((M, K), tl.float32), PRECISION)
        gates += load_row(bias_ih_ptr, n, 3 * H)[None, :]
        scatter(gates_ptr, m * (3 * H), ok, n, 3 * H, gates)


@triton.jit
def hidden_gates(
    g_ptr, row, ok, weight_hh_ptr, bias_hh_ptr, j,
    H: tl.constexpr, HP: tl.constexpr, PRECISION: tl.constexpr, M: tl.constexpr, K: tl.constexpr,
):  # fmt: skip
    """The half of the gates that comes from the states in memory, W_hh read a block at a time."""
    r = tl.zeros((M, HP), tl.float32) + load_row(bias_hh_ptr, j, H)[None, :]
    z = tl.zeros((M, HP), tl.float32) + load_row(bias_hh_ptr + H, j, H)[None, :]
    n = tl.zeros((M, HP), tl.float32) + load_row(bias_hh_ptr + 2 * H, j, H)[None, :]
    for start in range(0, H, K):
        k = start + tl.arange(0, K)
        state = gather(g_ptr, row * H, ok, k, 1, H)
        r = dot(state, gather(weight_hh_ptr, k, k < H, j, H, H), r, PRECISION)
        z = dot(state, gather(weight_hh_ptr + H * H, k, k < H, j, H, H), z, PRECISION)
        n = dot(state, gather(weight_hh_ptr + 2 * H * H, k, k < H, j, H, H), n, PRECISION)
    return r, z, n


@triton.jit
def input_gates(gates_ptr, row, ok, j, H: tl.constexpr):
    r = gather(gates_ptr, row * (3 * H), ok, j, 1, H).to(tl.float32)
    z = gather(gates_ptr + H, row * (3 * H), ok, j, 1, H).to(tl.float32)
    n = gather(gates_ptr + 2 * H, row * (3 * H), ok, j, 1, H).to(tl.float32)
    return r, z, n


@triton.jit
def recurrence_kernel(
    gates_ptr, weight_hh_ptr, bias_hh_ptr, g_ptr, sequences, frames,
    H: tl.constexpr, HP: tl.constexpr, RESIDENT: tl.constexpr,
    PRECISION: tl.constexpr, M: tl.constexpr, K: tl.constexpr,
):  # fmt: skip
    """g[0] = 0, g[t + 1] = GRU(gates[t], g[t]); padded columns stay 0."""
    dtype = weight_hh_ptr.dtype.element_ty
    sequence = tl.program_id(0).to(tl.int64) * M + tl.arange(0, M)
    ok = sequence < sequences
    j = tl.arange(0, HP)
    if RESIDENT:  # (in, out) tiles, loaded once: the compiler keeps them in shared memory
        wr = gather(weight_hh_ptr, j, j < H, j, H, H)
        wz = gather(weight_hh_ptr + H * H, j, j < H, j, H, H)
        wn = gather(weight_hh_ptr + 2 * H * H, j, j < H, j, H, H)
    state = tl.zeros((M, HP), tl.float32)
    scatter(g_ptr, sequence * H, ok, j, H, state)
    for t in range(0, frames):
        row = sequence + t * sequences
        if RESIDENT:
            before = round_to(state, dtype)
            zeros = tl.zeros((M, HP), tl.float32)
            hr = dot(before, wr, zeros, PRECISION) + load_row(bias_hh_ptr, j, H)[None, :]
            hz = dot(before, wz, zeros, PRECISION) + load_row(bias_hh_ptr + H, j, H)[None, :]
            hn = dot(before, wn, zeros, PRECISION) + load_row(bias_hh_ptr + 2 * H, j, H)[None, :]
        else:
            tl.debug_barrier()  # this program's threads see each other's part of g[t]
            hr, hz, hn = hidden_gates(
                g_ptr, row, ok, weight_hh_ptr, bias_hh_ptr, j, H, HP, PRECISION, M, K
            )
        ir, iz, in_ = input_gates(gates_ptr, row, ok, j, H)
        z = tl.sigmoid(iz + hz)
        n = tanh(in_ + tl.sigmoid(ir + hr) * hn)
        state = n + z * (state - n)
        scatter(g_ptr, (row + sequences) * H, ok, j, H, state)


@triton.jit
def up_kernel(
    g_ptr, s_ptr, x_ptr, residual_ptr, up_weight_ptr, up_bias_ptr, y_ptr,
    rows, sequences, tokens, clip_stride, frame_stride, token_stride,
    res_clip_stride, res_frame_stride, res_token_stride,
    y_clip_stride, y_frame_stride, y_token_stride,
    D: tl.constexpr, H: tl.constexpr, HP: tl.constexpr,
    SCALING: tl.constexpr, RESIDUAL: tl.constexpr, PRECISION: tl.constexpr,
    M: tl.constexpr, N: tl.constexpr,
):  # fmt: skip
    m = tl.program_id(0).to(tl.int64) * M + tl.arange(0, M)
    ok = m < rows
    at = offsets(m, sequences, tokens, clip_stride, frame_stride, token_stride)
    res_at = offsets(m, sequences, tokens, res_clip_stride, res_frame_stride, res_token_stride)
    y_at = offsets(m, sequences, tokens, y_clip_stride, y_frame_stride, y_token_stride)
    j = tl.arange(0, HP)
    q = gather(g_ptr, (m + sequences) * H, ok, j, 1, H).to(tl.float32)
    if SCALING != "none":
        s = tl.load(s_ptr + m, mask=ok, other=0.0)
    if SCALING == "recurrence":
        q *= s[:, None]
    a = round_to(gelu(q), up_weight_ptr.dtype.element_ty)
    for start in range(0, D, N):
        n = start + tl.arange(0, N)
        w = gather(up_weight_ptr, j, j < H, n, H, D)
        y = (
            dot(a, w, tl.zeros((M, N), tl.float32), PRECISION)
            + load_row(up_bias_ptr, n, D)[None, :]
        )
        if SCALING == "after_up":
            y *= s[:, None]
        y += gather(x_ptr, at, ok, n, 1, D).to(tl.float32)
        if RESIDUAL:
            y += gather(residual_ptr, res_at, ok, n, 1, D).to(tl.float32)
        scatter(y_ptr, y_at, ok, n, D, y)


def forward(
    x: Tensor,
    residual: Tensor | None,
    weights: TemporalWeights,
    scaling: str,
    eps: float,
    y: Tensor,
    saved: SavedByTriton,
) -> None:
    """x, residual (B, T, L, D) of unit last stride -> y (B, T, L, D), contiguous, and `saved`.

    The weights are contiguous; down_weight's dtype is the products'.
    """
    clips, frames, tokens, width = x.shape
    hidden, dtype = weights.down_weight.shape[0], weights.down_weight.dtype
    sequences = clips * tokens
    rows = frames * sequences
    padded = max(16, triton.next_power_of_2(hidden))
    wide, recurrence, _ = config(padded, dtype)
    if rows == 0:
        return
    w, res = weights, x if residual is None else residual
    form = {"D": width, "H": hidden, "HP": padded, "SCALING": scaling, "PRECISION": precision()}
    grid = (triton.cdiv(rows, wide.rows),)
    options = launch_options(wide.warps, wide.stages, dtype)
    with on_device(x):
        down_kernel[grid](
            x, w.norm_weight, w.norm_bias,
            w.norm_weight if w.scale_weight is None else w.scale_weight,
            w.norm_bias if w.scale_bias is None else w.scale_bias,
            w.down_weight, w.down_bias, w.weight_ih, w.bias_ih,
            saved.mean, saved.rstd, saved.s, saved.d, saved.fed, saved.gates,
            rows, sequences, tokens, *x.stride()[:3], eps,
            **form, M=wide.rows, K=wide.columns, **options,
        )  # fmt: skip
        recurrence_kernel[(triton.cdiv(sequences, recurrence.rows),)](
            saved.gates, w.weight_hh, w.bias_hh, saved.g, sequences, frames,
            H=hidden, HP=padded, RESIDENT=resident(padded, dtype, x.device), PRECISION=precision(),
            M=recurrence.rows, K=recurrence.columns,
            **launch_options(recurrence.warps, recurrence.stages, dtype),
        )  # fmt: skip
        up_kernel[grid](
            saved.g, saved.s, x, res, w.up_weight, w.up_bias, y,
            rows, sequences, tokens, *x.stride()[:3], *res.stride()[:3], *y.stride()[:3],
            **form, RESIDUAL=residual is not None, M=wide.rows, N=wide.columns, **options,
        )  # fmt: skip
