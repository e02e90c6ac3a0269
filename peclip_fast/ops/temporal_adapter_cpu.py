"""The temporal adapter on the C++ kernels of ``peclip_fast._C``.

PyTorch multiplies the matrices that need no recurrence, over all frames at once; the kernels do the
rest: the walk over the frames with gates, scaling and GELU, and the passes over the D-wide tensors
around it.

    z, s, base = enter(x, residual)    z = LN(x), s = ReLU(w_s z + b_s), base = residual + x + s b_u
    d = W_d z + b_d
    g, a = walk(W_ih d + b_ih)         GRU over T, a = s GELU(g)
    out = base + W_u a

The scale enters before the up-projection, on h numbers instead of D. Kept for the backward pass are
x, its mean and rstd, s, d and g; the rest is computed again.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from peclip_fast.ops import backends
from peclip_fast.ops import temporal_adapter_cpu_kernels as kernels
from peclip_fast.ops.linear import product, sum_of_rows, weight_gradient
from peclip_fast.ops.temporal_adapter_operator import OP, empties, register, unit_stride

_SAVED = 5

backends.declare(
    OP, "cpu", backends.Kernel(("cpu",), backends.extension_missing, frames=(1, 2**31 - 1))
)


def _linear(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return product(x.flatten(0, -2), weight, bias).view(*x.shape[:-1], len(weight))


def forward(
    x: Tensor, residual: Tensor | None, norm_weight: Tensor, norm_bias: Tensor,
    scale_weight: Tensor | None, scale_bias: Tensor | None, down_weight: Tensor, down_bias: Tensor,
    weight_ih: Tensor, weight_hh: Tensor, bias_ih: Tensor, bias_hh: Tensor, up_weight: Tensor,
    up_bias: Tensor, scaling: str, dtype: torch.dtype, save: bool,
) -> tuple[Tensor, ...]:  # fmt: skip
    """Give the output and what the backward pass needs: mean, rstd, s, d, g."""
    x = unit_stride(x)
    z, s, mean, rstd, base = kernels.enter(
        x, residual, norm_weight, norm_bias, scale_weight, scale_bias, up_bias,
        scaling == "after_up", dtype,
    )  # fmt: skip
    assert base is not None  # with up_bias it never is
    taken = d = _linear(z, down_weight, down_bias)
    if scaling == "input":
        assert s is not None  # the operator has checked that scale_weight is there
        taken = s[..., None].to(dtype) * d
    gates = _linear(taken, weight_ih, bias_ih)
    g, activated = kernels.walk(gates, weight_hh, bias_hh, s, scaling)
    flat = base.view(-1, x.shape[3])
    product(activated.flatten(0, 2), up_weight, added=(flat,), out=flat)
    if not save:
        return base, *empties(x, _SAVED)
    return base, mean, rstd, x.new_empty(0, dtype=torch.float32) if s is None else s, d, g


def backward(
    grad: Tensor, x: Tensor, kept: list[Tensor], norm_weight: Tensor, norm_bias: Tensor,
    scale_weight: Tensor | None, scale_bias: Tensor | None, down_weight: Tensor, down_bias: Tensor,
    weight_ih: Tensor, weight_hh: Tensor, bias_ih: Tensor, bias_hh: Tensor, up_weight: Tensor,
    up_bias: Tensor, scaling: str, dtype: torch.dtype,
) -> tuple[Tensor | None, ...]:  # fmt: skip
    """Give the gradients of x and of the twelve weights, in the operator's order."""
    mean, rstd, s, d, g = kept
    h, x, grad = g.shape[-1], unit_stride(x), grad.contiguous()
    z = kernels.enter(x, None, norm_weight, norm_bias, None, None, None, False, dtype)[0]
    scale = s if scale_weight is not None else None
    taken = s[..., None].to(dtype) * d if scaling == "input" else d
    gates = _linear(taken, weight_ih, bias_ih)
    previous = F.pad(g[:, :-1], (0, 0, 0, 0, 1, 0))
    recurrent = _linear(previous, weight_hh, bias_hh)

    dout = grad.flatten(0, 2)
    dscaled = dout.to(dtype)
    da = product(dscaled, up_weight, by_rows=True).view(g.shape)
    activated, dgates, ds = kernels.walk_backward(
        da, gates, previous, recurrent, g, weight_hh, bias_hh, scale, scaling
    )
    dup_weight = weight_gradient(activated.flatten(0, 2), dscaled).mT
    if scaling == "after_up":
        assert ds is not None
        ds = ds + (dout @ up_bias.to(dout.dtype)).view(s.shape)

    flat = dgates.flatten(0, 2)  # of hidden n, r, z, input n
    dinput = flat[:, h:]
    dweight_ih = weight_gradient(dinput, taken.flatten(0, 2))
    dweight_hh = weight_gradient(flat[:, : 3 * h], previous.flatten(0, 2)).roll(-h, 0)
    dbias = sum_of_rows(flat)
    dd = dinput @ weight_ih.to(dtype)
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
    dz = product(dd, down_weight, by_rows=True, out=rows).view(
        x.shape
    )  # z's memory, no longer used
    dx, dnorm_weight, dnorm_bias, dup_bias = kernels.leave(
        dz, ds, grad, x, mean, rstd, s, norm_weight, norm_bias, scale_weight, scaling == "after_up"
    )
    return (
        dx, dnorm_weight, dnorm_bias, dscale_weight, dscale_bias, ddown_weight, sum_of_rows(dd),
        dweight_ih, dweight_hh, dbias[h:], dbias[: 3 * h].roll(-h, 0), dup_weight, dup_bias,
    )  # fmt: skip


def saved(x: Tensor, *weights: Any) -> tuple[Tensor, ...]:
    """Like what `forward` saves."""
    scale_weight, hidden, dtype, rows = weights[2], weights[4].shape[0], weights[13], x.shape[:3]
    mean, rstd = (x.new_empty((*rows, 1), dtype=torch.float32) for _ in range(2))
    s = x.new_empty(0 if scale_weight is None else rows, dtype=torch.float32)
    return mean, rstd, s, *(x.new_empty((*rows, hidden), dtype=dtype) for _ in range(2))


register("cpu", forward, backward, saved, _SAVED)
