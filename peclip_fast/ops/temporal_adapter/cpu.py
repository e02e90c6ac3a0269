"""The temporal adapter on the C++ kernels of ``peclip_fast._C``.

PyTorch, or the CPU's matrix unit, multiplies the matrices that need no recurrence, over all frames
at once; the kernels do the rest: the recurrence with gates, scaling and GELU, and the passes over
the D-wide tensors around it.

    down        z = LN(x), s = ReLU(w_s z + b_s), base = residual + x + s b_u; d = W_d z + b_d
    recurrence  of W_ih d + b_ih: the GRU's states g over T, and a = s GELU(g)
    up          base + W_u a

The scale enters before the up-projection, on h numbers instead of D. Kept for the backward pass are
x, its mean and rstd, s, d and g; the rest is computed again.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from peclip_fast.ops import extension
from peclip_fast.ops.declared import Kernel, declare
from peclip_fast.ops.products import product, sum_of_rows, weight_gradient
from peclip_fast.ops.temporal_adapter import cpu_kernels as kernels
from peclip_fast.ops.temporal_adapter.backend import register, unit_stride
from peclip_fast.ops.temporal_adapter.weights import OP, TemporalWeights

declare(OP, "cpu", Kernel(("cpu",), extension.missing, verified=True, frames=(1, 2**31 - 1)))


class SavedByCPU(NamedTuple):
    """What the forward pass keeps for the backward one."""

    mean: Tensor
    """(B, T, L, 1), float32; rstd too."""
    rstd: Tensor
    s: Tensor
    """(B, T, L), float32; empty without a scale."""
    d: Tensor
    """(B, T, L, h); g too."""
    g: Tensor


def saved_like(x: Tensor, weights: TemporalWeights, scaling: str, dtype: torch.dtype) -> SavedByCPU:
    """Like what `forward` keeps."""
    rows, hidden = x.shape[:3], weights.down_weight.shape[0]
    mean, rstd = (x.new_empty((*rows, 1), dtype=torch.float32) for _ in range(2))
    s = x.new_empty(0 if weights.scale_weight is None else rows, dtype=torch.float32)
    return SavedByCPU(mean, rstd, s, *(x.new_empty((*rows, hidden), dtype=dtype) for _ in range(2)))


def _linear(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return product(x.flatten(0, -2), weight, bias).view(*x.shape[:-1], len(weight))


def forward(
    x: Tensor, residual: Tensor | None, weights: TemporalWeights, scaling: str,
    dtype: torch.dtype, save: bool,
) -> tuple[Tensor, SavedByCPU | None]:  # fmt: skip
    """Give the output and, if `save`, what the backward pass needs."""
    x, w = unit_stride(x), weights
    z, s, mean, rstd, base = kernels.down(x, residual, weights, scaling == "after_up", dtype)
    taken = d = _linear(z, w.down_weight, w.down_bias)
    if scaling == "input":
        assert s is not None  # the operator has checked that scale_weight is there
        taken = s[..., None].to(dtype) * d
    gates = _linear(taken, w.weight_ih, w.bias_ih)
    g, activated = kernels.recurrence(gates, w.weight_hh, w.bias_hh, s, scaling)
    flat = base.view(-1, x.shape[3])
    product(activated.flatten(0, 2), w.up_weight, added=(flat,), out=flat)
    if not save:
        return base, None
    return base, SavedByCPU(
        mean, rstd, x.new_empty(0, dtype=torch.float32) if s is None else s, d, g
    )


def backward(
    grad: Tensor, x: Tensor, kept: SavedByCPU, weights: TemporalWeights, scaling: str,
    dtype: torch.dtype,
) -> tuple[Tensor, TemporalWeights]:  # fmt: skip
    """Give the gradients of x and of the weights."""
    mean, rstd, s, d, g = kept
    h, x, grad, w = g.shape[-1], unit_stride(x), grad.contiguous(), weights
    z = kernels.normalised(x, weights, dtype)
    scale = s if w.scale_weight is not None else None
    taken = s[..., None].to(dtype) * d if scaling == "input" else d
    gates = _linear(taken, w.weight_ih, w.bias_ih)
    previous = F.pad(g[:, :-1], (0, 0, 0, 0, 1, 0))
    recurrent = _linear(previous, w.weight_hh, w.bias_hh)

    dout = grad.flatten(0, 2)
    dscaled = dout.to(dtype)
    da = product(dscaled, w.up_weight, by_rows=True).view(g.shape)
    activated, dgates, ds = kernels.recurrence_backward(
        da, gates, previous, recurrent, g, w.weight_hh, w.bias_hh, scale, scaling
    )
    dup_weight = weight_gradient(activated.flatten(0, 2), dscaled).mT
    if scaling == "after_up":
        assert ds is not None
        ds = ds + (dout @ w.up_bias.to(dout.dtype)).view(s.shape)

    flat = dgates.flatten(0, 2)  # of hidden n, r, z, input n
    dinput = flat[:, h:]
    dweight_ih = weight_gradient(dinput, taken.flatten(0, 2))
    dweight_hh = weight_gradient(flat[:, : 3 * h], previous.flatten(0, 2)).roll(-h, 0)
    dbias = sum_of_rows(flat)
    dd = product(dinput, w.weight_ih, by_rows=True)
    if scaling == "input":
        ds = (dd * d.flatten(0, 2)).sum(-1, dtype=torch.float32).view(s.shape)
        dd = dd * s.view(-1, 1).to(dtype)
    if ds is not None:
        ds = torch.where(s > 0, ds.float(), 0.0)  # through the ReLU
    rows = z.view(-1, z.shape[-1])
    ddown_weight = weight_gradient(dd, rows)
    dscale_weight = dscale_bias = None
    if ds is not None:
        dscale_weight = (ds.flatten().to(dtype) @ rows)[None]
        dscale_bias = ds.sum(dtype=torch.float64)[None]
    dz = product(dd, w.down_weight, by_rows=True, out=rows)  # z's memory, no longer used
    dx, dnorm_weight, dnorm_bias, dup_bias = kernels.down_backward(
        dz.view(x.shape), ds, grad, x, mean, rstd, s, weights, scaling == "after_up"
    )
    return dx, TemporalWeights(
        dnorm_weight, dnorm_bias, dscale_weight, dscale_bias, ddown_weight, sum_of_rows(dd),
        dweight_ih, dweight_hh, dbias[h:], dbias[: 3 * h].roll(-h, 0), dup_weight, dup_bias,
    )  # fmt: skip


register("cpu", forward, backward, saved_like, SavedByCPU)
