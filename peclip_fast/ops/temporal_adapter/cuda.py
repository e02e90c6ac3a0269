"""The temporal adapter on the CUDA kernels of ``peclip_fast._C``.

Four kernels forward and four backward do everything that goes row by row or frame by frame; what is
left are the gradients of the weights, sums over all rows, which are products in cuBLAS:

    with d, g' (the state before) and 1 side by side     d gates^T [d | g' | 1]
    with a, what the up-projection read, and its factor   dy^T [a | s]
    with the normalised x^, and ds as a column of dd      [dd | ds]^T x^

Kept for the backward pass are x, its mean and rstd, s, [d | g' | 1], and the folded weights; gates
are computed again.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from peclip_fast.ops.declared import Kernel, declare
from peclip_fast.ops.extension import cuda_missing
from peclip_fast.ops.temporal_adapter.backend import out_dtype, register, unit_stride
from peclip_fast.ops.temporal_adapter.cuda_kernels import (
    TILE_COLUMNS,
    TILE_DEPTH,
    Call,
    Folded,
    address,
    addresses,
    gate_biases,
    padded,
    refused,
    round_up,
    wide,
)
from peclip_fast.ops.temporal_adapter.weights import EPSILON, OP, SCALING_NUMBERS, TemporalWeights

declare(
    OP,
    "cuda",
    Kernel(
        ("cuda",),
        cuda_missing,
        verified=False,  # never run on a GPU
        width=(1, 4096),
        hidden=(1, 192),
        frames=(1, 2**31 - 1),
        refused=refused,
    ),
)


class SavedByCUDA(NamedTuple):
    """What the forward pass keeps for the backward one."""

    mean: Tensor
    """(B, T, L), float32; rstd and s too, s empty without a scale."""
    rstd: Tensor
    s: Tensor
    inputs: Tensor
    """[d | g' | 1], (B, T, L, 2h + 8), with h rounded up."""
    folded_weight: Tensor
    """With the next four, Folded; the last two are empty without a scale."""
    folded_sums: Tensor
    folded_offsets: Tensor
    folded_scale: Tensor
    folded_scale_sums: Tensor


def saved_like(
    x: Tensor, weights: TemporalWeights, scaling: str, dtype: torch.dtype
) -> SavedByCUDA:
    """Like what `forward` keeps."""
    rows, (h, width) = x.shape[:3], weights.down_weight.shape
    hidden, scaled = round_up(h, TILE_COLUMNS), weights.scale_weight is not None

    def single(*shape: int) -> Tensor:
        return x.new_empty(shape, dtype=torch.float32)

    return SavedByCUDA(
        single(*rows), single(*rows), single(*rows) if scaled else single(0),
        x.new_empty((*rows, 2 * hidden + TILE_COLUMNS), dtype=dtype),
        x.new_empty((h, width), dtype=dtype), single(hidden), single(hidden),
        single(round_up(width, TILE_DEPTH) if scaled else 0), single(2 if scaled else 0),
    )  # fmt: skip


def forward(
    x: Tensor, residual: Tensor | None, weights: TemporalWeights, scaling: str,
    dtype: torch.dtype, save: bool,
) -> tuple[Tensor, SavedByCUDA | None]:  # fmt: skip
    """Give the output and, if `save`, what the backward pass needs."""
    with torch.cuda.device_of(x):
        x, rows, w = unit_stride(x), x.shape[:3], weights
        call = Call.of(x, w.down_weight.shape[0], dtype)
        hidden = call.shape[4]
        out = x.new_empty(x.shape, dtype=out_dtype(x, residual, dtype))
        if residual is not None:
            known = residual.dtype in (dtype, torch.float32)
            residual = unit_stride(residual if known else residual.to(out.dtype))
        folded = Folded.of(weights, dtype)
        down, hh, ih, up = call.pack(
            dtype, (folded.weight, 1, 1, True), (w.weight_hh, 3, 1, False),
            (w.weight_ih, 3, 1, False), (w.up_weight, 1, 1, True),
        )  # fmt: skip
        mean, rstd = (x.new_empty(rows, dtype=torch.float32) for _ in range(2))
        s = None if folded.scale is None else torch.empty_like(mean)
        columns = 2 * hidden + TILE_COLUMNS if save else hidden
        inputs = x.new_empty((*rows, columns), dtype=dtype)
        call.run(
            "down", wide(x), *addresses(down, folded.scale, s, inputs), columns,
            *addresses(folded.sums, folded.offsets, folded.scale_sums), EPSILON,
            scaling == "input", save, *addresses(mean, rstd),
        )  # fmt: skip
        states, biases = inputs.new_empty((*rows, hidden)), gate_biases(weights)
        call.run(
            "recurrence", addresses(hh, ih), address(biases), address(inputs), columns, save,
            address(states),
        )  # fmt: skip
        number, bias = SCALING_NUMBERS[scaling], padded(w.up_bias, TILE_DEPTH)
        call.run(
            "up", number, wide(x), wide(residual), wide(out),
            *addresses(up, states, bias, s if number else None),
        )  # fmt: skip
    if not save:
        return out, None
    nothing = x.new_empty(0, dtype=torch.float32)
    return out, SavedByCUDA(mean, rstd, nothing if s is None else s, inputs, *folded.saved(nothing))


class _Results(NamedTuple):
    """What the backward kernels give; thin tensors have h rounded up."""

    dx: Tensor
    dgates: Tensor
    """(B, T, L, 4h) in the order of enum Block."""
    activated: Tensor
    """[a | s], (B, T, L, h + 8)."""
    scaled: Tensor
    """[rstd dd | rstd ds], (B, T, L, h + 8)."""


def backward(
    grad: Tensor, x: Tensor, kept: SavedByCUDA, weights: TemporalWeights, scaling: str,
    dtype: torch.dtype,
) -> tuple[Tensor, TemporalWeights]:  # fmt: skip
    """Give the gradients of x and of the weights."""
    with torch.cuda.device_of(x):
        x, grad = unit_stride(x), unit_stride(grad)
        results = _run_backward(grad, x, kept, weights, scaling, dtype)
        return results.dx, _weight_gradients(grad.to(dtype), x, kept, weights, results)


def _run_backward(
    grad: Tensor, x: Tensor, kept: SavedByCUDA, weights: TemporalWeights, scaling: str,
    dtype: torch.dtype,
) -> _Results:  # fmt: skip
    mean, rstd, s, inputs = kept[:4]
    rows, w = x.shape[:3], weights
    call = Call.of(x, w.down_weight.shape[0], dtype)
    hidden, columns = call.shape[4], inputs.shape[3]
    folded = Folded.restored(*kept[4:])
    up, hh_back, hh, ih, ih_back, down = call.pack(
        dtype, (w.up_weight.mT, 1, 1, True), (w.weight_hh.mT, 1, 3, False),
        (w.weight_hh, 3, 1, False), (w.weight_ih, 3, 1, False), (w.weight_ih.mT, 1, 3, False),
        (folded.weight.mT, 1, 1, True),
    )  # fmt: skip

    def thin(columns: int) -> Tensor:
        return inputs.new_empty((*rows, columns))

    da, dgates, dinput = thin(hidden), thin(4 * hidden), thin(hidden)
    activated, scaled = thin(hidden + TILE_COLUMNS), thin(hidden + TILE_COLUMNS)
    after_up = scaling == "after_up"
    bias = padded(w.up_bias, TILE_DEPTH) if after_up else None
    products = torch.empty_like(mean) if after_up else None
    call.run("up_backward", wide(grad), *addresses(up, bias, products, da))
    ds = None if scaling == "none" else torch.empty_like(mean)
    number = SCALING_NUMBERS[scaling]  # where it isn't 0, the scale's gradient comes from here
    biases = gate_biases(weights)
    call.run(
        "recurrence_backward", number, addresses(hh_back, hh, ih, ih_back), address(biases),
        address(inputs), columns, *addresses(s if number else None, da, products),
        *addresses(dgates, dinput, activated, ds if number else None),
    )  # fmt: skip
    dx = x.new_empty(x.shape)
    call.run(
        "down_backward", scaling == "input", wide(x), wide(grad), wide(dx),
        *addresses(down, dinput, folded.scale, None if ds is None else s, mean, rstd, ds),
        address(inputs), columns,
        *addresses(folded.sums, folded.offsets, folded.scale_sums, scaled),
    )  # fmt: skip
    return _Results(dx, dgates, activated, scaled)


def _weight_gradients(
    dy: Tensor, x: Tensor, kept: SavedByCUDA, weights: TemporalWeights, results: _Results
) -> TemporalWeights:
    """Sums over all rows, in float32; dy is in the products' dtype."""
    mean, rstd, _, inputs = kept[:4]
    h, hidden = weights.down_weight.shape[0], results.dgates.shape[3] // 4
    dgates = _product(results.dgates, inputs).view(4, hidden, -1)
    # In the order of enum Block: reset, update, hidden new, input new. No lists as indices: each
    # would be copied to the GPU, which waits for it.
    of_hidden = dgates[:3, :h]
    of_input = torch.cat([dgates[:2, :h], dgates[3:, :h]])
    dup = _product(dy, results.activated)
    dnormalised, sums = _with_normalised(results.scaled, x, mean, rstd)
    gamma, beta = weights.norm_weight.float(), weights.norm_bias.float()
    projections = weights.down_weight.float()
    used = dnormalised[:h]
    dnorm_weight = (projections * used).sum(0)
    dnorm_bias = torch.mv(projections.mT, sums[:h])
    dscale_weight = dscale_bias = None
    if weights.scale_weight is not None:
        of_s, total, row = dnormalised[hidden], sums[hidden], weights.scale_weight[0].float()
        dscale_weight, dscale_bias = (of_s * gamma + total * beta)[None], total[None]
        dnorm_weight, dnorm_bias = dnorm_weight + row * of_s, dnorm_bias + row * total
    return TemporalWeights(
        dnorm_weight, dnorm_bias, dscale_weight, dscale_bias,
        used * gamma + torch.outer(sums[:h], beta), sums[:h],
        of_input[:, :, :h].reshape(3 * h, h),
        of_hidden[:, :, hidden : hidden + h].reshape(3 * h, h),
        of_input[:, :, 2 * hidden].reshape(3 * h), of_hidden[:, :, 2 * hidden].reshape(3 * h),
        dup[:, :h], dup[:, hidden],
    )  # fmt: skip


def _product(a: Tensor, b: Tensor) -> Tensor:
    """Sum of the outer products of all rows of a and b, in float32."""
    a, b = a.flatten(0, -2).mT, b.flatten(0, -2)
    if a.device.type != "cpu" and a.dtype != torch.float32:
        return torch.mm(a, b, out_dtype=torch.float32)
    return a.float() @ b.float()


def _with_normalised(scaled: Tensor, x: Tensor, mean: Tensor, rstd: Tensor) -> tuple[Tensor, ...]:
    """From [rstd dd | rstd ds]: the products with x^, (h + 8, D), and the sums of [dd | ds].

    x goes into the product as it is where its dtype is the product's, and the means are taken off
    the result; else x - mean is rounded. The mean and 1/rstd are in two parts, the second what
    rounding took from the first.
    """
    dtype, moments = scaled.dtype, []
    for moment in (mean, 1 / rstd):
        moments += [moment.to(dtype), (moment - moment.to(dtype)).to(dtype)]
    zeros = torch.zeros_like(moments[0])  # products want a multiple of 16 bytes
    sums = _product(scaled, torch.stack([*moments, *[zeros] * 4], -1))
    of_means, totals = sums[:, 0] + sums[:, 1], sums[:, 2] + sums[:, 3]
    if x.dtype == dtype != torch.float32:
        return _product(scaled, x) - of_means[:, None], totals
    return _product(scaled, (x - mean[..., None]).to(dtype)), totals


register("cuda", forward, backward, saved_like, SavedByCUDA)
