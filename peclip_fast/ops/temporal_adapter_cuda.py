"""The temporal adapter on the CUDA kernels of ``peclip_fast._C`` (csrc/temporal_adapter_cuda.h).

Four kernels forward and four backward do everything that goes row by row or frame by frame; what is
left are the gradients of the weights, sums over all rows, which are products in cuBLAS:

    with d, g' (the state before) and 1 side by side     d gates^T [d | g' | 1]
    with a, what the up-projection read, and its factor   dy^T [a | s]
    with the normalised x^ and ds beside dd               [dd | ds]^T x^

Kept for the backward pass are x, its mean and rstd, s, and [d | g' | 1]; gates are computed again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from peclip_fast.ops import backends
from peclip_fast.ops.backends import TYPES
from peclip_fast.ops.temporal_adapter_operator import OP, empties, out_dtype, register, unit_stride

EPSILON = 1e-5
# Of enum Scaling in csrc/.
_SCALINGS = {"none": 0, "input": 0, "recurrence": 1, "after_up": 2}
_SAVED = 4


def _up(value: int, multiple: int) -> int:
    return -(-value // multiple) * multiple


def _too_large(device: torch.device, dtype: torch.dtype, width: int, hidden: int) -> str | None:
    """Whether a block's shared memory holds what each kernel needs."""
    from peclip_fast import _C

    has = torch.cuda.get_device_properties(device).shared_memory_per_block_optin
    for name, _, needed in _C.temporal_adapter_cuda_plan(TYPES[dtype], width, _up(hidden, 8), has):
        if needed > has:
            return (
                f"at h = {hidden} in {str(dtype).removeprefix('torch.')} its kernel {name} needs "
                f"{needed} bytes of shared memory, this GPU has {has}"
            )
    return None


backends.declare(
    OP,
    "cuda",
    backends.Kernel(
        ("cuda",),
        backends.cuda_missing,
        width=(1, 4096),
        hidden=(1, 192),
        frames=(1, 2**31 - 1),
        too_large=_too_large,
    ),
)


def _padded(vector: Tensor, multiple: int) -> Tensor:
    """In float32, with zeros up to the next multiple."""
    vector = vector.float()
    return F.pad(vector, (0, _up(vector.numel(), multiple) - vector.numel()))


def _address(tensor: Tensor | None) -> int:
    return 0 if tensor is None else tensor.data_ptr()


def _wide(tensor: Tensor | None) -> tuple[int, tuple[int, ...], bool]:
    """A (B, T, L, D) tensor as the kernels take it."""
    if tensor is None:
        return 0, (0, 0, 0), False
    return tensor.data_ptr(), tensor.stride()[:3], tensor.dtype == torch.float32


@dataclass(frozen=True)
class _Call:
    """What all kernels of one call are given."""

    type: int
    shape: tuple[int, int, int, int, int]
    """B, T, L, D, and h rounded up to a multiple of 8."""
    stream: int

    @classmethod
    def of(cls, x: Tensor, hidden: int, dtype: torch.dtype) -> _Call:
        stream = torch.cuda.current_stream(x.device).cuda_stream if x.is_cuda else 0
        b, t, length, width = x.shape
        return cls(TYPES[dtype], (b, t, length, width, _up(hidden, 8)), stream)

    def run(self, kernel: str, *arguments: Any) -> None:
        from peclip_fast import _C

        getattr(_C, f"{OP}_cuda_{kernel}")(self.type, self.shape, *arguments, self.stream)

    def pack(self, dtype: torch.dtype, *jobs: tuple[Tensor, int, int, bool]) -> list[Tensor]:
        """Weights in the order that tile products take: (weight, blocks of N, of K, spread)."""
        from peclip_fast import _C

        packed, given = [], []
        for weight, blocks_n, blocks_k, spread in jobs:
            if weight.dtype not in (dtype, torch.float32):
                weight = weight.to(dtype)
            n, k = weight.shape[0] // blocks_n, weight.shape[1] // blocks_k
            axis_n = (n, _up(n, 32 if spread else 8), blocks_n, weight.stride(0))
            axis_k = (k, _up(k, 32), blocks_k, weight.stride(1))
            numbers = axis_n[1] * blocks_n * axis_k[1] * blocks_k
            packed.append(weight.new_empty(numbers, dtype=dtype))
            single = weight.dtype == torch.float32
            given.append((*map(_address, (weight, packed[-1])), single, spread, axis_n, axis_k))
        _C.temporal_adapter_cuda_pack(self.type, given, self.stream)
        return packed


@dataclass(frozen=True)
class _Folded:
    """LayerNorm's affine inside the projections: W LN(x) = rstd (V x - mean sum(V)) + W beta."""

    weight: Tensor
    """V = W_d gamma, (h, D) in the products' dtype."""
    sums: Tensor
    """Of V over D, as it is rounded."""
    offsets: Tensor
    """W_d beta + b_d."""
    scale: Tensor | None
    """w_s gamma (D), float32."""
    scale_sums: Tensor | None
    """Its sum, and w_s beta + b_s."""

    @classmethod
    def of(
        cls, norm_weight: Tensor, norm_bias: Tensor, scale_weight: Tensor | None,
        scale_bias: Tensor | None, down_weight: Tensor, down_bias: Tensor, dtype: torch.dtype,
    ) -> _Folded:  # fmt: skip
        gamma, beta, down = norm_weight.float(), norm_bias.float(), down_weight.float()
        folded = (down * gamma).to(dtype)
        sums, offsets = folded.float().sum(1), torch.mv(down, beta) + down_bias.float()
        scale = scale_sums = None
        if scale_weight is not None and scale_bias is not None:
            row = scale_weight[0].float()
            scale_sums = torch.stack([(row * gamma).sum(), row.dot(beta) + scale_bias[0].float()])
            scale = _padded(row * gamma, 32)
        return cls(folded, _padded(sums, 8), _padded(offsets, 8), scale, scale_sums)


def _biases(bias_ih: Tensor, bias_hh: Tensor) -> Tensor:
    """(4, h rounded up): r, z, hidden n, input n; those that are only ever added come added."""
    (r, z, n), (hidden_r, hidden_z, hidden_n) = (b.float().view(3, -1) for b in (bias_ih, bias_hh))
    gates = torch.stack([r + hidden_r, z + hidden_z, hidden_n, n])
    return F.pad(gates, (0, _up(gates.shape[1], 8) - gates.shape[1]))


def forward(
    x: Tensor, residual: Tensor | None, norm_weight: Tensor, norm_bias: Tensor,
    scale_weight: Tensor | None, scale_bias: Tensor | None, down_weight: Tensor, down_bias: Tensor,
    weight_ih: Tensor, weight_hh: Tensor, bias_ih: Tensor, bias_hh: Tensor, up_weight: Tensor,
    up_bias: Tensor, scaling: str, dtype: torch.dtype, save: bool,
) -> tuple[Tensor, ...]:  # fmt: skip
    """Give the output and what the backward pass needs: mean, rstd, s, [d | g' | 1]."""
    with torch.cuda.device_of(x):
        x, rows = unit_stride(x), x.shape[:3]
        call = _Call.of(x, down_weight.shape[0], dtype)
        hidden = call.shape[4]
        out = x.new_empty(x.shape, dtype=out_dtype(x, residual, dtype))
        if residual is not None:
            known = residual.dtype in (dtype, torch.float32)
            residual = unit_stride(residual if known else residual.to(out.dtype))
        folded = _Folded.of(
            norm_weight, norm_bias, scale_weight, scale_bias, down_weight, down_bias, dtype
        )
        down, hh, ih, up = call.pack(
            dtype, (folded.weight, 1, 1, True), (weight_hh, 3, 1, False), (weight_ih, 3, 1, False),
            (up_weight, 1, 1, True),
        )  # fmt: skip
        mean, rstd = (x.new_empty(rows, dtype=torch.float32) for _ in range(2))
        s = None if folded.scale is None else torch.empty_like(mean)
        inputs = x.new_empty((*rows, 2 * hidden + 8 if save else hidden), dtype=dtype)
        call.run(
            "narrow", _wide(x), *map(_address, (down, folded.scale, s, inputs)), inputs.shape[3],
            *map(_address, (folded.sums, folded.offsets, folded.scale_sums)), EPSILON,
            scaling == "input", save, *map(_address, (mean, rstd)),
        )  # fmt: skip
        states, biases = inputs.new_empty((*rows, hidden)), _biases(bias_ih, bias_hh)
        weights = tuple(map(_address, (hh, ih)))
        call.run(
            "walk", weights, _address(biases), _address(inputs), inputs.shape[3], save,
            _address(states),
        )  # fmt: skip
        bias = _padded(up_bias, 32)
        call.run(
            "widen", _SCALINGS[scaling], _wide(x), _wide(residual), _wide(out),
            *map(_address, (up, states, bias, s if _SCALINGS[scaling] else None)),
        )  # fmt: skip
    if not save:
        return out, *empties(x, _SAVED)
    return out, mean, rstd, x.new_empty(0, dtype=torch.float32) if s is None else s, inputs


def saved(x: Tensor, *weights: Any) -> tuple[Tensor, ...]:
    """Like what `forward` saves."""
    scale_weight, down_weight, dtype = weights[2], weights[4], weights[13]
    rows, hidden = x.shape[:3], _up(down_weight.shape[0], 8)
    mean, rstd = (x.new_empty(rows, dtype=torch.float32) for _ in range(2))
    s = x.new_empty(0 if scale_weight is None else rows, dtype=torch.float32)
    return mean, rstd, s, x.new_empty((*rows, 2 * hidden + 8), dtype=dtype)


def backward(
    grad: Tensor, x: Tensor, kept: list[Tensor], norm_weight: Tensor, norm_bias: Tensor,
    scale_weight: Tensor | None, scale_bias: Tensor | None, down_weight: Tensor, down_bias: Tensor,
    weight_ih: Tensor, weight_hh: Tensor, bias_ih: Tensor, bias_hh: Tensor, up_weight: Tensor,
    up_bias: Tensor, scaling: str, dtype: torch.dtype,
) -> tuple[Tensor | None, ...]:  # fmt: skip
    """Give the gradients of x and of the twelve weights."""
    mean, rstd, s, inputs = kept
    with torch.cuda.device_of(x):
        x, grad = unit_stride(x), unit_stride(grad)
        rows, h = x.shape[:3], down_weight.shape[0]
        call = _Call.of(x, h, dtype)
        hidden = call.shape[4]
        folded = _Folded.of(
            norm_weight, norm_bias, scale_weight, scale_bias, down_weight, down_bias, dtype
        )
        up, hh_back, hh, ih, ih_back, down = call.pack(
            dtype, (up_weight.mT, 1, 1, True), (weight_hh.mT, 1, 3, False),
            (weight_hh, 3, 1, False), (weight_ih, 3, 1, False), (weight_ih.mT, 1, 3, False),
            (folded.weight.mT, 1, 1, True),
        )  # fmt: skip

        def thin(columns: int) -> Tensor:
            return inputs.new_empty((*rows, columns))

        da, dgates, dinput = thin(hidden), thin(4 * hidden), thin(hidden)
        activated, scaled = thin(hidden + 8), thin(hidden + 8)
        after_up = scaling == "after_up"
        bias = _padded(up_bias, 32) if after_up else None
        products = torch.empty_like(mean) if after_up else None
        call.run("narrow_backward", _wide(grad), *map(_address, (up, bias, products, da)))
        ds = None if scaling == "none" else torch.empty_like(mean)
        in_walk = _SCALINGS[scaling] != 0  # the scale's gradient comes from the walk
        biases = _biases(bias_ih, bias_hh)
        call.run(
            "walk_backward", _SCALINGS[scaling], tuple(map(_address, (hh_back, hh, ih, ih_back))),
            _address(biases), _address(inputs), inputs.shape[3],
            *map(_address, (s if in_walk else None, da, products, dgates, dinput, activated)),
            _address(ds if in_walk else None),
        )  # fmt: skip
        dx = x.new_empty(x.shape)
        call.run(
            "widen_backward", scaling == "input", _wide(x), _wide(grad), _wide(dx),
            *map(_address, (down, dinput, folded.scale, None if ds is None else s, mean, rstd, ds)),
            _address(inputs), inputs.shape[3],
            *map(_address, (folded.sums, folded.offsets, folded.scale_sums, scaled)),
        )  # fmt: skip

        dgates = _product(dgates, inputs).view(4, hidden, -1)
        of_input, of_hidden = dgates[[0, 1, 3], :h], dgates[[0, 1, 2], :h]
        dup = _product(grad.to(dtype), activated)
        dnormalised, sums = _with_normalised(scaled, x, mean, rstd)
        gamma, beta = norm_weight.float(), norm_bias.float()
        projections = down_weight.float()
        used = dnormalised[:h]
        dnorm_weight = (projections * used).sum(0)
        dnorm_bias = torch.mv(projections.mT, sums[:h])
        dscale_weight = dscale_bias = None
        if scale_weight is not None:
            of_s, total, row = dnormalised[hidden], sums[hidden], scale_weight[0].float()
            dscale_weight, dscale_bias = (of_s * gamma + total * beta)[None], total[None]
            dnorm_weight, dnorm_bias = dnorm_weight + row * of_s, dnorm_bias + row * total
        return (
            dx, dnorm_weight, dnorm_bias, dscale_weight, dscale_bias,
            used * gamma + torch.outer(sums[:h], beta), sums[:h],
            of_input[:, :, :h].reshape(3 * h, h),
            of_hidden[:, :, hidden : hidden + h].reshape(3 * h, h),
            of_input[:, :, 2 * hidden].reshape(3 * h), of_hidden[:, :, 2 * hidden].reshape(3 * h),
            dup[:, :h], dup[:, hidden],
        )  # fmt: skip


def _product(a: Tensor, b: Tensor) -> Tensor:
    """Sum of the outer products of all rows of a and b, in float32."""
    a, b = a.flatten(0, -2).mT, b.flatten(0, -2)
    if a.is_cuda and a.dtype != torch.float32:
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


register("cuda", forward, backward, saved, _SAVED)
