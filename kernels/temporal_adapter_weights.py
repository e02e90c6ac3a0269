"""Triton: the gradients of the Temporal Dynamic Adapter's weights (see temporal_adapter.py)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from peclip_fast.kernels.temporal_adapter import config, offsets
from peclip_fast.kernels.tiles import (
    dot,
    gather,
    launch_options,
    load_row,
    precision,
    reduce_groups,
    round_to,
)

if TYPE_CHECKING:
    from peclip_fast.ops.temporal_adapter.triton import SavedByTriton
    from peclip_fast.ops.temporal_adapter.weights import TemporalWeights

MAX_GROUPS = 32
ROWS_PER_GROUP = 512


@triton.jit
def products_kernel(
    wide_ptr, thin_ptr, weight_ptr, mean_ptr, rstd_ptr, partial_ptr,
    rows, sequences, tokens, clip_stride, frame_stride, token_stride, rows_per_group, group_stride,
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
    out_ptr = partial_ptr + group * group_stride
    at = out_ptr + n[:, None] * H + j[None, :]
    tl.store(at, product, mask=(n[:, None] < W) & (j[None, :] < H))
    tl.store(out_ptr + W * H + n, wide_sum, mask=n < W)
    if tl.program_id(1) == 0:
        tl.store(out_ptr + W * H + W + j, thin_sum, mask=j < H)
        tl.store(out_ptr + W * H + W + H, tl.sum(weight_sum, 0))


def products(
    partial: Tensor,
    rows_per_group: int,
    wide: Tensor,
    thin: Tensor,
    shape: tuple[int, int, int],
    strides: tuple[int, ...],
    weight: Tensor | None = None,
    normal: tuple[Tensor, Tensor] | None = None,
) -> None:
    """The sums of `products_kernel` over each group of rows; `shape` is (B, T, L)."""
    clips, frames, tokens = shape
    width, hidden = wide.shape[-1], thin.shape[-1]
    padded = max(16, triton.next_power_of_2(hidden))
    blocks = config(padded, thin.dtype).products
    mean, rstd = (partial, partial) if normal is None else normal
    products_kernel[(len(partial), triton.cdiv(width, blocks.columns))](
        wide, thin, partial if weight is None else weight, mean, rstd, partial,
        clips * frames * tokens, clips * tokens, tokens, *strides, rows_per_group,
        partial.stride(0),
        W=width, H=hidden, HP=padded, NORMALIZE=normal is not None, WEIGHTED=weight is not None,
        PRECISION=precision(), M=blocks.rows, N=blocks.columns,
        **launch_options(blocks.warps, blocks.stages, thin.dtype),
    )  # fmt: skip


@triton.jit
def weights_of_down_kernel(
    sums_ptr, norm_weight_ptr, norm_bias_ptr, scale_weight_ptr, down_weight_ptr, out_ptr,
    D: tl.constexpr, H: tl.constexpr, HP: tl.constexpr, SCALED: tl.constexpr, N: tl.constexpr,
):  # fmt: skip
    """[dgamma | dbeta | dw_s | dW_d] of the sums P = x^T dd, Q = x^T ds, sum(dd) and sum(ds).

    With x^ = (x - mean) / std: z = gamma x^ + beta makes dW_d = dd^T z and dw_s = ds^T z of them,
    and dz = dd W_d + ds w_s makes the gradients of gamma and beta of them, too.
    """
    n = tl.program_id(0) * N + tl.arange(0, N)
    j = tl.arange(0, HP)
    keep = (n[:, None] < D) & (j[None, :] < H)
    p = tl.load(sums_ptr + n[:, None] * H + j[None, :], mask=keep, other=0.0)
    q = load_row(sums_ptr + D * H, n, D)
    dd = load_row(sums_ptr + D * H + D, j, H)
    gamma, beta = load_row(norm_weight_ptr, n, D), load_row(norm_bias_ptr, n, D)
    down_at = j[None, :] * D + n[:, None]
    down = tl.load(down_weight_ptr + down_at, mask=keep, other=0.0).to(tl.float32)
    dgamma = tl.sum(p * down, 1)
    dbeta = tl.sum(dd[None, :] * down, 1)
    if SCALED:
        ds = tl.load(sums_ptr + D * H + D + H)
        row = load_row(scale_weight_ptr, n, D)
        dgamma += row * q
        dbeta += row * ds
        tl.store(out_ptr + 2 * D + n, gamma * q + beta * ds, mask=n < D)
    tl.store(out_ptr + n, dgamma, mask=n < D)
    tl.store(out_ptr + D + n, dbeta, mask=n < D)
    ddown = p * gamma[:, None] + dd[None, :] * beta[:, None]
    tl.store(out_ptr + 3 * D + down_at, ddown, mask=keep)


def sums(
    dy: Tensor, x: Tensor, saved: SavedByTriton, thin: tuple[Tensor, Tensor, Tensor, Tensor],
    s: Tensor | None, ds: Tensor | None, fed: Tensor,
) -> Tensor:  # fmt: skip
    """What `products_kernel` sums, over all rows, for W_u, W_d, W_ih and W_hh: flat, in fp32."""
    clips, frames, tokens, width = x.shape
    a, dd, dgates, dhidden = thin
    hidden, sequences = a.shape[1], clips * tokens
    rows, sizes = frames * sequences, _sizes(width, hidden)
    if rows == 0:
        return torch.zeros(sum(sizes), dtype=torch.float32, device=x.device)
    # The groups depend only on the sizes, so every machine adds in the same order.
    m = config(max(16, triton.next_power_of_2(hidden)), a.dtype).products.rows
    groups = min(MAX_GROUPS, triton.cdiv(rows, ROWS_PER_GROUP))
    rows_per_group = triton.cdiv(triton.cdiv(rows, groups), m) * m
    groups = triton.cdiv(rows, rows_per_group)
    partial = torch.empty((groups, sum(sizes)), dtype=torch.float32, device=x.device)
    up, down, ih, hh = partial.split(sizes, 1)
    size = (clips, frames, tokens)
    gate_strides = (tokens * 3 * hidden, sequences * 3 * hidden, 3 * hidden)
    states = saved.g[:-1].view(rows, hidden)
    products(up, rows_per_group, dy, a, size, dy.stride()[:3], s)
    products(
        down, rows_per_group, x, dd, size, x.stride()[:3], ds, (saved.mean, saved.rstd)
    )  # fmt: skip
    products(ih, rows_per_group, dgates, fed, size, gate_strides)
    products(hh, rows_per_group, dhidden, states, size, gate_strides)
    return reduce_groups(partial, torch.float32)


def _sizes(width: int, hidden: int) -> list[int]:
    """Numbers of the four sums, each with its three rows of bias and weight, in steps of 16."""
    widths = (width, width, 3 * hidden, 3 * hidden)
    return [-(-(wide * hidden + wide + hidden + 1) // 16) * 16 for wide in widths]


def weights_of_down(summed: Tensor, weights: TemporalWeights, scaling: str) -> Tensor:
    """The gradients that follow from the sums for W_d, by `weights_of_down_kernel`: flat, fp32."""
    w, (hidden, width) = weights, weights.down_weight.shape
    down = torch.empty(_down_size(width, hidden), dtype=torch.float32, device=summed.device)
    padded = max(16, triton.next_power_of_2(hidden))
    columns = min(2048 // padded, triton.next_power_of_2(width))
    weights_of_down_kernel[(triton.cdiv(width, columns),)](
        summed[_sizes(width, hidden)[0] :], w.norm_weight, w.norm_bias,
        w.norm_weight if w.scale_weight is None else w.scale_weight, w.down_weight, down,
        D=width, H=hidden, HP=padded, SCALED=scaling != "none",
        N=columns, **launch_options(4, 1, torch.float32),
    )  # fmt: skip
    return down


def _down_size(width: int, hidden: int) -> int:
    return 3 * width + hidden * width


def gradient_sizes(width: int, hidden: int) -> tuple[int, int]:
    """Numbers of the second and the third result of `backward`."""
    return sum(_sizes(width, hidden)), _down_size(width, hidden)


def split_gradients(summed: Tensor, down: Tensor, weights: TemporalWeights) -> tuple[Any, ...]:
    """Gradients of the weights, in their order, views in fp32; None for a weight that is None."""
    hidden, width = weights.down_weight.shape

    def parts(flat: Tensor, wide: int) -> tuple[Tensor, ...]:
        product, *rest = flat[: wide * hidden + wide + hidden + 1].split(
            (wide * hidden, wide, hidden, 1)
        )
        return product.view(wide, hidden), *rest

    up, of_down, ih, hh = summed.split(_sizes(width, hidden))
    dgamma, dbeta, dscale, ddown = down.split((width, width, width, hidden * width))
    up_weight, up_bias, *_ = parts(up, width)
    _, _, dd_sum, ds_sum = parts(of_down, width)
    weight_ih, bias_ih, *_ = parts(ih, 3 * hidden)
    weight_hh, bias_hh, *_ = parts(hh, 3 * hidden)
    scale = (None, None) if weights.scale_weight is None else (dscale[None], ds_sum)
    return (
        dgamma, dbeta, *scale, ddown.view(hidden, width), dd_sum, weight_ih, weight_hh, bias_ih,
        bias_hh, up_weight, up_bias,
    )  # fmt: skip
