"""Triton: the gradients of the Temporal Dynamic Adapter (the design is in temporal_adapter.py)."""

from __future__ import annotations

from typing import TYPE_CHECKING

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
from peclip_fast.kernels.temporal_adapter_weights import sums, weights_of_down
from peclip_fast.kernels.tiles import (
    dot,
    gather,
    gelu,
    gelu_slope,
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


def backward(
    dy: Tensor, x: Tensor, saved: SavedByTriton, weights: TemporalWeights, scaling: str
) -> tuple[Tensor, Tensor, Tensor]:
    """dx (B, T, L, D) in x's dtype, and the weights' gradients for `split_gradients`.

    dy and x are of unit last stride, the weights as in the forward pass. The residual's gradient is
    `dy` itself.
    """
    clips, frames, tokens, width = x.shape
    hidden, dtype = weights.down_weight.shape[0], weights.down_weight.dtype
    sequences = clips * tokens
    rows = frames * sequences
    padded = max(16, triton.next_power_of_2(hidden))
    wide, recurrence, _ = config(padded, dtype)
    mean, rstd, s, d, fed, gates, g = saved[:7]
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
        summed = sums(
            dy, x, saved, (a, dd, dgates, dhidden), s if scaling == "after_up" else None,
            None if scaling == "none" else ds, fed if scaling == "input" else d,
        )  # fmt: skip
        down = weights_of_down(summed, w, scaling)
    return dx, summed, down
