"""Triton: the gradients of the Temporal Dynamic Adapter (the design is in temporal_adapter.py)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from peclip_fast.kernels.temporal_adapter import (
    config,
    hidden_gates,
    input_gates,
    offsets,
    resident,
)
from peclip_fast.kernels.tiles import (
    dot,
    gather,
    gelu,
    gelu_slope,
    launch_options,
    load_row,
    on_device,
    precision,
    reduce_groups,
    round_to,
    scatter,
    tanh,
)

if TYPE_CHECKING:
    from peclip_fast.ops.temporal_adapter.triton import SavedByTriton
    from peclip_fast.ops.temporal_adapter.weights import TemporalWeights

MAX_GROUPS = 32
ROWS_PER_GROUP = 512


class Sums(NamedTuple):
    """Over all rows, as `products` gives them."""

    up: Tensor
    down: Tensor
    ih: Tensor
    hh: Tensor


@triton.jit
def up_backward_kernel(
    dy_ptr, g_ptr, s_ptr, up_weight_ptr, up_bias_ptr, dg_ptr, a_ptr, ds_ptr,
    rows, sequences, tokens, clip_stride, frame_stride, token_stride,
    D: tl.constexpr, H: tl.constexpr, HP: tl.constexpr, SCALING: tl.constexpr,
    PRECISION: tl.constexpr, M: tl.constexpr, K: tl.constexpr,
):  # fmt: skip
    """dy -> dg, ds as far as it comes from here, and a with dW_u = dy^T a."""
    dtype = up_weight_ptr.dtype.element_ty
    m = tl.program_id(0).to(tl.int64) * M + tl.arange(0, M)
    ok = m < rows
    at = offsets(m, sequences, tokens, clip_stride, frame_stride, token_stride)
    j = tl.arange(0, HP)
    da = tl.zeros((M, HP), tl.float32)
    ds = tl.zeros((M,), tl.float32)
    for start in range(0, D, K):
        n = start + tl.arange(0, K)
        dy = gather(dy_ptr, at, ok, n, 1, D)
        if SCALING == "after_up":
            ds += tl.sum(dy.to(tl.float32) * load_row(up_bias_ptr, n, D)[None, :], 1)
        w = gather(up_weight_ptr, n * H, n < D, j, 1, H)
        da = dot(round_to(dy, dtype), w, da, PRECISION)
    g = gather(g_ptr, (m + sequences) * H, ok, j, 1, H).to(tl.float32)
    if SCALING != "none":
        s = tl.load(s_ptr + m, mask=ok, other=0.0)
    if SCALING == "recurrence":
        q = g * s[:, None]
        dq = da * gelu_slope(q)
        ds = tl.sum(dq * g, 1)
        dg = dq * s[:, None]
        a = gelu(q)
    elif SCALING == "after_up":
        a = gelu(g)
        ds += tl.sum(da * a, 1)
        dg = da * s[:, None] * gelu_slope(g)
        a *= s[:, None]
    else:
        a = gelu(g)
        dg = da * gelu_slope(g)
    scatter(dg_ptr, m * H, ok, j, H, dg)
    scatter(a_ptr, m * H, ok, j, H, a)
    tl.store(ds_ptr + m, ds, mask=ok)


@triton.jit
def recurrence_backward_kernel(
    gates_ptr, weight_hh_ptr, bias_hh_ptr, g_ptr, dg_ptr, dgates_ptr, dhidden_ptr,
    sequences, frames,
    H: tl.constexpr, HP: tl.constexpr, RESIDENT: tl.constexpr,
    PRECISION: tl.constexpr, M: tl.constexpr, K: tl.constexpr,
):  # fmt: skip
    """Back through time: dg -> gradients of both halves of the gates, which are recomputed."""
    dtype = weight_hh_ptr.dtype.element_ty
    sequence = tl.program_id(0).to(tl.int64) * M + tl.arange(0, M)
    ok = sequence < sequences
    j = tl.arange(0, HP)
    if RESIDENT:  # (out, in) tiles, loaded once: the compiler keeps them in shared memory
        wr = gather(weight_hh_ptr, j * H, j < H, j, 1, H)
        wz = gather(weight_hh_ptr + H * H, j * H, j < H, j, 1, H)
        wn = gather(weight_hh_ptr + 2 * H * H, j * H, j < H, j, 1, H)
    dstate = tl.zeros((M, HP), tl.float32)
    for step in range(0, frames):
        row = sequence + (frames - 1 - step) * sequences
        # Nothing here waits for the frames after this one, so W_hh may come from L2 ...
        hr, hz, hn = hidden_gates(
            g_ptr, row, ok, weight_hh_ptr, bias_hh_ptr, j, H, HP, PRECISION, M, K
        )
        ir, iz, in_ = input_gates(gates_ptr, row, ok, j, H)
        r = tl.sigmoid(ir + hr)
        z = tl.sigmoid(iz + hz)
        n = tanh(in_ + r * hn)
        before = gather(g_ptr, row * H, ok, j, 1, H).to(tl.float32)

        # ... but everything here does.
        dstate += gather(dg_ptr, row * H, ok, j, 1, H).to(tl.float32)
        dn = dstate * (1.0 - z) * (1.0 - n * n)
        dz = dstate * (before - n) * z * (1.0 - z)
        dr = dn * hn * r * (1.0 - r)
        dhn = dn * r
        at = row * (3 * H)
        scatter(dgates_ptr, at, ok, j, H, dr)
        scatter(dgates_ptr + H, at, ok, j, H, dz)
        scatter(dgates_ptr + 2 * H, at, ok, j, H, dn)
        scatter(dhidden_ptr, at, ok, j, H, dr)
        scatter(dhidden_ptr + H, at, ok, j, H, dz)
        scatter(dhidden_ptr + 2 * H, at, ok, j, H, dhn)
        dstate *= z
        if RESIDENT:
            dstate = dot(round_to(dr, dtype), wr, dstate, PRECISION)
            dstate = dot(round_to(dz, dtype), wz, dstate, PRECISION)
            dstate = dot(round_to(dhn, dtype), wn, dstate, PRECISION)
        else:
            tl.debug_barrier()  # this program's threads see each other's part of dhidden
            for start in range(0, 3 * H, K):
                k = start + tl.arange(0, K)
                dgate = gather(dhidden_ptr, at, ok, k, 1, 3 * H)
                w = gather(weight_hh_ptr, k * H, k < 3 * H, j, 1, H)
                dstate = dot(dgate, w, dstate, PRECISION)


@triton.jit
def down_backward_kernel(
    dgates_ptr, d_ptr, s_ptr, ds_ptr, x_ptr, dy_ptr, mean_ptr, rstd_ptr,
    norm_weight_ptr, scale_weight_ptr, down_weight_ptr, weight_ih_ptr,
    dd_ptr, ds_out_ptr, dx_ptr,
    rows, sequences, tokens, clip_stride, frame_stride, token_stride,
    dy_clip_stride, dy_frame_stride, dy_token_stride,
    dx_clip_stride, dx_frame_stride, dx_token_stride,
    D: tl.constexpr, H: tl.constexpr, HP: tl.constexpr,
    SCALING: tl.constexpr, PRECISION: tl.constexpr, M: tl.constexpr, K: tl.constexpr,
):  # fmt: skip
    """dgates, ds, dy -> dd, ds before the ReLU, and dx."""
    dtype = down_weight_ptr.dtype.element_ty
    m = tl.program_id(0).to(tl.int64) * M + tl.arange(0, M)
    ok = m < rows
    at = offsets(m, sequences, tokens, clip_stride, frame_stride, token_stride)
    dy_at = offsets(m, sequences, tokens, dy_clip_stride, dy_frame_stride, dy_token_stride)
    dx_at = offsets(m, sequences, tokens, dx_clip_stride, dx_frame_stride, dx_token_stride)
    j = tl.arange(0, HP)
    dd = tl.zeros((M, HP), tl.float32)
    for start in range(0, 3 * H, K):
        n = start + tl.arange(0, K)
        dgates = gather(dgates_ptr, m * (3 * H), ok, n, 1, 3 * H)
        w_ih = gather(weight_ih_ptr, n * H, n < 3 * H, j, 1, H)
        dd = dot(dgates, w_ih, dd, PRECISION)
    ds = tl.load(ds_ptr + m, mask=ok, other=0.0)
    if SCALING != "none":
        s = tl.load(s_ptr + m, mask=ok, other=0.0)
    if SCALING == "input":
        d = gather(d_ptr, m * H, ok, j, 1, H).to(tl.float32)
        ds += tl.sum(dd * d, 1)
        dd *= s[:, None]
    if SCALING != "none":
        ds = tl.where(s > 0, ds, 0.0)
        tl.store(ds_out_ptr + m, ds, mask=ok)
    dd = round_to(dd, dtype)
    scatter(dd_ptr, m * H, ok, j, H, dd)

    # dz = dd W_d + ds w_s, formed twice: for LayerNorm's two sums over D, and for dx.
    mean = tl.load(mean_ptr + m, mask=ok, other=0.0)
    rstd = tl.load(rstd_ptr + m, mask=ok, other=0.0)
    total = tl.zeros((M,), tl.float32)
    along = tl.zeros((M,), tl.float32)
    for start in range(0, D, K):
        n = start + tl.arange(0, K)
        w = gather(down_weight_ptr, j * D, j < H, n, 1, D)
        dz = dot(dd, w, tl.zeros((M, K), tl.float32), PRECISION)
        if SCALING != "none":
            dz += ds[:, None] * load_row(scale_weight_ptr, n, D)[None, :]
        dz *= load_row(norm_weight_ptr, n, D)[None, :]
        x = (gather(x_ptr, at, ok, n, 1, D).to(tl.float32) - mean[:, None]) * rstd[:, None]
        total += tl.sum(dz, 1)
        along += tl.sum(dz * x, 1)
    total /= D
    along /= D
    for start in range(0, D, K):
        n = start + tl.arange(0, K)
        w = gather(down_weight_ptr, j * D, j < H, n, 1, D)
        dz = dot(dd, w, tl.zeros((M, K), tl.float32), PRECISION)
        if SCALING != "none":
            dz += ds[:, None] * load_row(scale_weight_ptr, n, D)[None, :]
        dz *= load_row(norm_weight_ptr, n, D)[None, :]
        x = (gather(x_ptr, at, ok, n, 1, D).to(tl.float32) - mean[:, None]) * rstd[:, None]
        dx = (dz - total[:, None] - x * along[:, None]) * rstd[:, None]
        dx += gather(dy_ptr, dy_at, ok, n, 1, D).to(tl.float32)
        scatter(dx_ptr, dx_at, ok, n, D, dx)


@triton.jit
def products_kernel(
    wide_ptr, thin_ptr, weight_ptr, mean_ptr, rstd_ptr, partial_ptr,
    rows, sequences, tokens, clip_stride, frame_stride, token_stride, rows_per_group,
    W: tl.constexpr, H: tl.constexpr, HP: tl.constexpr, NORMALIZE: tl.constexpr,
    WEIGHTED: tl.constexpr, PRECISION: tl.constexpr, M: tl.constexpr, N: tl.constexpr,
):  # fmt: skip
    """A group's [wide^T thin (W, h) | wide^T weight (W) | sum of thin (h) | sum of weight], fp32.

    `wide` has W columns (N of them in this program), NORMALIZE takes x^ in place of x; without
    WEIGHTED every row's weight is 1.
    """
    dtype = thin_ptr.dtype.element_ty
    group = tl.program_id(0).to(tl.int64)
    n = tl.program_id(1) * N + tl.arange(0, N)
    j = tl.arange(0, HP)
    start = group * rows_per_group
    end = tl.minimum(start + rows_per_group, rows)
    product = tl.zeros((N, HP), tl.float32)
    wide_sum = tl.zeros((N,), tl.float32)
    thin_sum = tl.zeros((HP,), tl.float32)
    weight_sum = tl.zeros((M,), tl.float32)
    for first in range(start, end, M):
        m = first + tl.arange(0, M).to(tl.int64)
        ok = m < end
        at = offsets(m, sequences, tokens, clip_stride, frame_stride, token_stride)
        wide = gather(wide_ptr, at, ok, n, 1, W).to(tl.float32)
        if NORMALIZE:
            wide -= tl.load(mean_ptr + m, mask=ok, other=0.0)[:, None]
            wide *= tl.load(rstd_ptr + m, mask=ok, other=0.0)[:, None]
        thin = gather(thin_ptr, m * H, ok, j, 1, H)
        product = dot(tl.trans(round_to(wide, dtype)), thin, product, PRECISION)
        if WEIGHTED:
            weight = tl.load(weight_ptr + m, mask=ok, other=0.0)
            wide_sum += tl.sum(wide * weight[:, None], 0)
            weight_sum += weight
        else:
            wide_sum += tl.sum(wide, 0)
        thin_sum += tl.sum(thin.to(tl.float32), 0)
    out_ptr = partial_ptr + group * (W * H + W + H + 1)
    at = out_ptr + n[:, None] * H + j[None, :]
    tl.store(at, product, mask=(n[:, None] < W) & (j[None, :] < H))
    tl.store(out_ptr + W * H + n, wide_sum, mask=n < W)
    if tl.program_id(1) == 0:
        tl.store(out_ptr + W * H + W + j, thin_sum, mask=j < H)
        tl.store(out_ptr + W * H + W + H, tl.sum(weight_sum, 0))


def products(
    wide: Tensor,
    thin: Tensor,
    shape: tuple[int, int, int],
    strides: tuple[int, ...],
    weight: Tensor | None = None,
    normal: tuple[Tensor, Tensor] | None = None,
) -> Tensor:
    """The sums of `products_kernel` over all rows, flat and fp32; `shape` is (B, T, L)."""
    clips, frames, tokens = shape
    width, hidden = wide.shape[-1], thin.shape[-1]
    rows = clips * frames * tokens
    count = width * hidden + width + hidden + 1
    if rows == 0:
        return torch.zeros(count, dtype=torch.float32, device=wide.device)
    padded = max(16, triton.next_power_of_2(hidden))
    blocks = config(padded, thin.dtype).products
    # The groups depend only on the sizes, so every machine adds in the same order.
    groups = min(MAX_GROUPS, triton.cdiv(rows, ROWS_PER_GROUP))
    rows_per_group = triton.cdiv(triton.cdiv(rows, groups), blocks.rows) * blocks.rows
    groups = triton.cdiv(rows, rows_per_group)
    partial = torch.empty((groups, count), dtype=torch.float32, device=wide.device)
    mean, rstd = (partial, partial) if normal is None else normal
    products_kernel[(groups, triton.cdiv(width, blocks.columns))](
        wide, thin, partial if weight is None else weight, mean, rstd, partial,
        rows, clips * tokens, tokens, *strides, rows_per_group,
        W=width, H=hidden, HP=padded, NORMALIZE=normal is not None, WEIGHTED=weight is not None,
        PRECISION=precision(), M=blocks.rows, N=blocks.columns,
        **launch_options(blocks.warps, blocks.stages, thin.dtype),
    )  # fmt: skip
    return reduce_groups(partial, torch.float32)


def backward(
    dy: Tensor, x: Tensor, saved: SavedByTriton, weights: TemporalWeights, scaling: str
) -> tuple[Tensor, Sums]:
    """dx (B, T, L, D) in x's dtype, and the sums of which `weight_gradients` makes the others.

    dy and x are of unit last stride, the weights as in the forward pass. The residual's gradient is
    `dy` itself.
    """
    clips, frames, tokens, width = x.shape
    hidden, dtype = weights.down_weight.shape[0], weights.down_weight.dtype
    sequences = clips * tokens
    rows = frames * sequences
    padded = max(16, triton.next_power_of_2(hidden))
    wide, recurrence, _ = config(padded, dtype)
    mean, rstd, s, d, fed, gates, g = saved
    w = weights

    def empty(*size: int, dtype: torch.dtype = dtype) -> Tensor:
        return torch.empty(size, dtype=dtype, device=x.device)

    dg, a, dd = empty(rows, hidden), empty(rows, hidden), empty(rows, hidden)
    dgates, dhidden = empty(rows, 3 * hidden), empty(rows, 3 * hidden)
    ds_after, ds = empty(rows, dtype=torch.float32), empty(rows, dtype=torch.float32)
    dx = empty(*x.shape, dtype=x.dtype)
    form = {"D": width, "H": hidden, "HP": padded, "SCALING": scaling, "PRECISION": precision()}
    order = (rows, sequences, tokens)
    grid = (triton.cdiv(rows, wide.rows),)
    options = launch_options(wide.warps, wide.stages, dtype)
    with on_device(x):
        if rows > 0:
            up_backward_kernel[grid](
                dy, g, s, w.up_weight, w.up_bias, dg, a, ds_after, *order, *dy.stride()[:3],
                **form, M=wide.rows, K=wide.columns, **options,
            )  # fmt: skip
            recurrence_backward_kernel[(triton.cdiv(sequences, recurrence.rows),)](
                gates, w.weight_hh, w.bias_hh, g, dg, dgates, dhidden, sequences, frames,
                H=hidden, HP=padded, RESIDENT=resident(padded, dtype, x.device),
                PRECISION=precision(), M=recurrence.rows, K=recurrence.columns,
                **launch_options(recurrence.warps, recurrence.stages, dtype),
            )  # fmt: skip
            down_backward_kernel[grid](
                dgates, d, s, ds_after, x, dy, mean, rstd, w.norm_weight,
                w.norm_weight if w.scale_weight is None else w.scale_weight,
                w.down_weight, w.weight_ih,
                dd, ds, dx, *order, *x.stride()[:3], *dy.stride()[:3], *dx.stride()[:3],
                **form, M=wide.rows, K=wide.columns, **options,
            )  # fmt: skip
        size = (clips, frames, tokens)
        gate_strides = (tokens * 3 * hidden, sequences * 3 * hidden, 3 * hidden)
        up = products(dy, a, size, dy.stride()[:3], s if scaling == "after_up" else None)
        down = products(
            x, dd, size, x.stride()[:3], None if scaling == "none" else ds, (mean, rstd)
        )
        ih = products(dgates, fed if scaling == "input" else d, size, gate_strides)
        hh = products(dhidden, g[:-1].view(rows, hidden), size, gate_strides)
    return dx, Sums(up, down, ih, hh)


def weight_gradients(sums: Sums, weights: TemporalWeights) -> tuple[Any, ...]:
    """Gradients of the weights, in their order and in fp32; None for a weight that is None.

    With P = x^T dd and Q = x^T ds, x^ = (x - mean) / std: z = gamma x^ + beta makes dW_d = dd^T z
    and dw_s = ds^T z sums of P, Q, sum(dd) and sum(ds), and dz = dd W_d + ds w_s makes the
    gradients of gamma and beta so, too.
    """
    hidden, width = weights.down_weight.shape

    def parts(flat: Tensor, wide: int) -> tuple[Tensor, ...]:
        product, *rest = flat.split((wide * hidden, wide, hidden, 1))
        return product.view(wide, hidden), *rest

    up, up_bias, *_ = parts(sums.up, width)
    p, q, dd_sum, ds_sum = parts(sums.down, width)
    ih, bias_ih, *_ = parts(sums.ih, 3 * hidden)
    hh, bias_hh, *_ = parts(sums.hh, 3 * hidden)
    gamma, beta = weights.norm_weight.float(), weights.norm_bias.float()
    weight = weights.down_weight.float()
    dgamma = (p * weight.t()).sum(1)
    dbeta = (dd_sum[:, None] * weight).sum(0)
    dscale = dscale_bias = None
    if weights.scale_weight is not None:
        row = weights.scale_weight[0].float()
        dgamma += row * q
        dbeta += row * ds_sum
        dscale, dscale_bias = (gamma * q + beta * ds_sum)[None], ds_sum
    down = p.t() * gamma + dd_sum[:, None] * beta
    return (
        dgamma, dbeta, dscale, dscale_bias, down, dd_sum, ih, hh, bias_ih, bias_hh, up, up_bias,
    )  # fmt: skip
