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
from peclip_fast.ops.temporal_adapter.cuda_gradients import Sums, weight_gradients
from peclip_fast.ops.temporal_adapter.cuda_kernels import (
    TILE_COLUMNS,
    Call,
    Folded,
    address,
    addresses,
    fold,
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
    """With what follows, Folded."""
    folded_sums: Tensor
    folded_offsets: Tensor
    folded_scale: Tensor
    folded_scale_sums: Tensor
    gate_biases: Tensor
    padded_up_bias: Tensor


def saved_like(
    x: Tensor, weights: TemporalWeights, scaling: str, dtype: torch.dtype
) -> SavedByCUDA:
    """Like what `forward` keeps."""
    rows, hidden = x.shape[:3], round_up(weights.down_weight.shape[0], TILE_COLUMNS)
    scaled = weights.scale_weight is not None

    def single(*shape: int) -> Tensor:
        return x.new_empty(shape, dtype=torch.float32)

    return SavedByCUDA(
        single(*rows), single(*rows), single(*rows) if scaled else single(0),
        x.new_empty((*rows, 2 * hidden + TILE_COLUMNS), dtype=dtype),
        *Folded.like(x, weights, dtype),
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
        folded = fold(call, x, weights, dtype)
        scale, scale_sums = folded.scale
        down, hh, ih, up = call.pack(
            dtype, (folded.folded_weight, 1, 1, True), (w.weight_hh, 3, 1, False),
            (w.weight_ih, 3, 1, False), (w.up_weight, 1, 1, True),
        )  # fmt: skip
        mean, rstd = (x.new_empty(rows, dtype=torch.float32) for _ in range(2))
        s = None if scale is None else torch.empty_like(mean)
        columns = 2 * hidden + TILE_COLUMNS if save else hidden
        inputs = x.new_empty((*rows, columns), dtype=dtype)
        call.run(
            "down", wide(x), *addresses(down, scale, s, inputs), columns,
            *addresses(folded.folded_sums, folded.folded_offsets, scale_sums), EPSILON,
            scaling == "input", save, *addresses(mean, rstd),
        )  # fmt: skip
        states = inputs.new_empty((*rows, hidden))
        call.run(
            "recurrence", addresses(hh, ih), address(folded.gate_biases), address(inputs), columns,
            save, address(states),
        )  # fmt: skip
        number = SCALING_NUMBERS[scaling]
        call.run(
            "up", number, wide(x), wide(residual), wide(out),
            *addresses(up, states, folded.padded_up_bias, s if number else None),
        )  # fmt: skip
    if not save:
        return out, None
    nothing = x.new_empty(0, dtype=torch.float32)
    return out, SavedByCUDA(mean, rstd, nothing if s is None else s, inputs, *folded)


def backward(
    grad: Tensor, x: Tensor, kept: SavedByCUDA, weights: TemporalWeights, scaling: str,
    dtype: torch.dtype,
) -> tuple[Tensor, TemporalWeights]:  # fmt: skip
    """Give the gradients of x and of the weights."""
    with torch.cuda.device_of(x):
        x, grad = unit_stride(x), unit_stride(grad)
        call = Call.of(x, weights.down_weight.shape[0], dtype)
        dx, sums = _run_backward(call, grad, x, kept, weights, scaling, dtype)
        return dx, weight_gradients(call, grad.to(dtype), x, kept.mean, weights, sums)


def _run_backward(
    call: Call, grad: Tensor, x: Tensor, kept: SavedByCUDA, weights: TemporalWeights, scaling: str,
    dtype: torch.dtype,
) -> tuple[Tensor, Sums]:  # fmt: skip
    mean, rstd, s, inputs = kept[:4]
    rows, w, folded = x.shape[:3], weights, Folded(*kept[4:])
    scale, scale_sums = folded.scale
    hidden, columns = call.shape[4], inputs.shape[3]
    up, hh_back, hh, ih, ih_back, down = call.pack(
        dtype, (w.up_weight.mT, 1, 1, True), (w.weight_hh.mT, 1, 3, False),
        (w.weight_hh, 3, 1, False), (w.weight_ih, 3, 1, False), (w.weight_ih.mT, 1, 3, False),
        (folded.folded_weight.mT, 1, 1, True),
    )  # fmt: skip

    def thin(columns: int) -> Tensor:
        return inputs.new_empty((*rows, columns))

    da, dgates, dinput = thin(hidden), thin(4 * hidden), thin(hidden)
    activated, scaled = thin(hidden + TILE_COLUMNS), thin(hidden + TILE_COLUMNS)
    moments = thin(TILE_COLUMNS)
    after_up = scaling == "after_up"
    bias = folded.padded_up_bias if after_up else None
    products = torch.empty_like(mean) if after_up else None
    call.run("up_backward", wide(grad), *addresses(up, bias, products, da))
    ds = None if scaling == "none" else torch.empty_like(mean)
    number = SCALING_NUMBERS[scaling]  # where it isn't 0, the scale's gradient comes from here
    call.run(
        "recurrence_backward", number, addresses(hh_back, hh, ih, ih_back),
        address(folded.gate_biases), address(inputs), columns,
        *addresses(s if number else None, da, products),
        *addresses(dgates, dinput, activated, ds if number else None),
    )  # fmt: skip
    dx = x.new_empty(x.shape)
    call.run(
        "down_backward", scaling == "input", wide(x), wide(grad), wide(dx),
        *addresses(down, dinput, scale, None if ds is None else s, mean, rstd, ds),
        address(inputs), columns,
        *addresses(folded.folded_sums, folded.folded_offsets, scale_sums, scaled, moments),
    )  # fmt: skip
    return dx, Sums(inputs, dgates, activated, scaled, moments)


register("cuda", forward, backward, saved_like, SavedByCUDA)
