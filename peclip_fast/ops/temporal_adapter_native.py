"""The temporal adapter on the compiled kernels of ``peclip_fast._C``: backends cpu and cuda.

PyTorch multiplies the matrices that need no recurrence, over all frames at once; the kernels do the
rest (csrc/temporal_adapter.h): the walk over the frames with gates, scaling and GELU and, on the
CPU, the passes over the D-wide tensors around it.

    z, s, base = enter(x, residual)    z = LN(x), s = ReLU(w_s z + b_s), base = residual + x + s b_u
    d = W_d z + b_d
    g, a = core(W_ih d + b_ih)         GRU over T, a = s GELU(g)
    out = base + W_u a

The scale enters before the up-projection, on h numbers instead of D. Kept for the backward pass are
x, its mean and rstd, s, d and g; the rest is computed again.
"""

from __future__ import annotations

from typing import Any, NoReturn

import torch
import torch.nn.functional as F
from torch import Tensor

from peclip_fast.ops import backends
from peclip_fast.ops.temporal_adapter_steps import CORES, NORMS, out_dtype, unit_stride

OP = "temporal_adapter"

backends.declare(
    OP, "cpu", backends.Kernel(("cpu",), backends.extension_missing, frames=(1, 2**31 - 1))
)
backends.declare(
    OP,
    "cuda",
    backends.Kernel(("cuda",), backends.cuda_missing, hidden=(1, 256), frames=(1, 2**31 - 1)),
)


def run(
    x: Tensor, residual: Tensor | None, weights: tuple[Tensor | None, ...], scaling: str,
    dtype: torch.dtype,
) -> Tensor:  # fmt: skip
    """The operator on checked tensors, its products in `dtype`; x is float32 or of `dtype`."""
    return torch.ops.peclip_fast.temporal_adapter_native(x, residual, *weights, scaling, dtype)[0]


def _sum_of_rows(rows: Tensor) -> Tensor:
    """On the CPU PyTorch's own sum of low precision is many times slower than a product."""
    return rows.sum(0) if rows.dtype == torch.float32 else rows.new_ones(rows.shape[0]) @ rows


def forward(
    x: Tensor, residual: Tensor | None, norm_weight: Tensor, norm_bias: Tensor,
    scale_weight: Tensor | None, scale_bias: Tensor | None, down_weight: Tensor, down_bias: Tensor,
    weight_ih: Tensor, weight_hh: Tensor, bias_ih: Tensor, bias_hh: Tensor, up_weight: Tensor,
    up_bias: Tensor, scaling: str, dtype: torch.dtype,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    """Give the output and what the backward pass needs: mean, rstd, s, d, g."""
    x = unit_stride(x)
    z, s, mean, rstd, base = NORMS[x.device.type].enter(
        x, residual, norm_weight, norm_bias, scale_weight, scale_bias, up_bias,
        scaling == "after_up", dtype,
    )  # fmt: skip
    d = F.linear(z, down_weight.to(dtype), down_bias.to(dtype))
    taken = s[..., None].to(dtype) * d if scaling == "input" else d
    gates = F.linear(taken, weight_ih.to(dtype), bias_ih.to(dtype))
    g, activated = CORES[x.device.type].forward(gates, weight_hh, bias_hh, s, scaling)
    rows, up = activated.flatten(0, 2), up_weight.to(dtype).mT
    flat = base.view(rows.shape[0], x.shape[3])
    if base.dtype == dtype:
        flat.addmm_(rows, up)
    else:
        flat += rows @ up
    return base, mean, rstd, x.new_empty(0, dtype=torch.float32) if s is None else s, d, g


def backward(
    grad: Tensor, x: Tensor, mean: Tensor, rstd: Tensor, s: Tensor, d: Tensor, g: Tensor,
    norm_weight: Tensor, norm_bias: Tensor, scale_weight: Tensor | None, scale_bias: Tensor | None,
    down_weight: Tensor, down_bias: Tensor, weight_ih: Tensor, weight_hh: Tensor, bias_ih: Tensor,
    bias_hh: Tensor, up_weight: Tensor, up_bias: Tensor, scaling: str,
) -> tuple[Tensor, ...]:  # fmt: skip
    """Give the gradients of x and of the twelve weights, in the operator's order."""
    norm, core = NORMS[x.device.type], CORES[x.device.type]
    dtype, h = d.dtype, g.shape[-1]
    x, grad = unit_stride(x), grad.contiguous()
    none = x.new_empty(0)
    z = norm.enter(x, None, norm_weight, norm_bias, None, None, None, False, dtype)[0]
    scale = s if scale_weight is not None else None
    taken = s[..., None].to(dtype) * d if scaling == "input" else d
    gates = F.linear(taken, weight_ih.to(dtype), bias_ih.to(dtype))
    previous = F.pad(g[:, :-1], (0, 0, 0, 0, 1, 0))
    recurrent = F.linear(previous, weight_hh.to(dtype), bias_hh.to(dtype))

    dout = grad.flatten(0, 2)
    dscaled = dout.to(dtype)
    da = (dscaled @ up_weight.to(dtype)).view(g.shape)
    activated, dgates, ds = core.backward(
        da, gates, previous, recurrent, g, weight_hh, bias_hh, scale, scaling
    )
    dup_weight = dscaled.mT @ activated.flatten(0, 2)
    if scaling == "after_up":
        assert ds is not None
        ds = ds + (dout @ up_bias.to(dout.dtype)).view(s.shape)

    flat = dgates.flatten(0, 2)  # of hidden n, r, z, input n
    dinput = flat[:, h:]
    dweight_ih = dinput.mT @ taken.flatten(0, 2)
    dweight_hh = (flat[:, : 3 * h].mT @ previous.flatten(0, 2)).roll(-h, 0)
    dbias = _sum_of_rows(flat)
    dd = dinput @ weight_ih.to(dtype)
    if scaling == "input":
        ds = (dd * d.flatten(0, 2)).sum(-1, dtype=torch.float32).view(s.shape)
        dd = dd * s.view(-1, 1).to(dtype)
    if ds is not None:
        ds = torch.where(s > 0, ds.float(), 0.0)  # through the ReLU
    rows = z.view(-1, z.shape[-1])
    ddown_weight = dd.mT @ rows
    dscale_weight = dscale_bias = none
    if ds is not None:
        dscale_weight = ds.flatten().to(dtype) @ rows
        dscale_bias = ds.sum(dtype=torch.float64)[None]
    dz = torch.mm(dd, down_weight.to(dtype), out=rows).view(x.shape)  # z's memory, no longer used
    dx, dnorm_weight, dnorm_bias, dup_bias = norm.leave(
        dz, ds, grad, x, mean, rstd, s, norm_weight, norm_bias, scale_weight, scaling == "after_up"
    )
    return (
        dx,
        # With copy=True where the tensor is a part of another, which no operator may give.
        dnorm_weight.to(norm_weight.dtype, copy=True),
        dnorm_bias.to(norm_bias.dtype, copy=True),
        none if scale_weight is None else dscale_weight[None].to(scale_weight.dtype),
        none.clone() if scale_bias is None else dscale_bias.to(scale_bias.dtype),
        ddown_weight.to(down_weight.dtype),
        _sum_of_rows(dd).to(down_bias.dtype),
        dweight_ih.to(weight_ih.dtype),
        dweight_hh.to(weight_hh.dtype),
        dbias[h:].to(bias_ih.dtype, copy=True),
        dbias[: 3 * h].roll(-h, 0).to(bias_hh.dtype),
        dup_weight.to(up_weight.dtype),
        dup_bias.to(up_bias.dtype, copy=True),
    )


# --- Registration --------------------------------------------------------------------------------
# torch.library's lower-level form: less host time per call than custom_op.

_WEIGHTS = (
    "Tensor norm_weight, Tensor norm_bias, Tensor? scale_weight, Tensor? scale_bias,"
    " Tensor down_weight, Tensor down_bias, Tensor weight_ih, Tensor weight_hh, Tensor bias_ih,"
    " Tensor bias_hh, Tensor up_weight, Tensor up_bias, str scaling"
)
_NAME = "peclip_fast::temporal_adapter_native"
_library = torch.library.Library("peclip_fast", "FRAGMENT")
_library.define(
    f"temporal_adapter_native(Tensor x, Tensor? residual, {_WEIGHTS}, ScalarType dtype)"
    " -> (Tensor, Tensor, Tensor, Tensor, Tensor, Tensor)"
)
_library.define(
    "temporal_adapter_native_backward(Tensor grad, Tensor x, Tensor mean, Tensor rstd, Tensor s,"
    f" Tensor d, Tensor g, {_WEIGHTS}) -> ({', '.join(['Tensor'] * 13)})"
)
for _key in ("CPU", "CUDA"):
    _library.impl("temporal_adapter_native", forward, _key)
    _library.impl("temporal_adapter_native_backward", backward, _key)


@torch.library.register_fake(_NAME, lib=_library)
def _forward_fake(
    x: Tensor, residual: Tensor | None, *rest: Any
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    *weights, _, dtype = rest
    scale_weight, hidden, rows = weights[2], weights[4].shape[0], x.shape[:3]
    row = x.new_empty((*rows, 1), dtype=torch.float32)
    s = x.new_empty(0 if scale_weight is None else rows, dtype=torch.float32)
    d = x.new_empty((*rows, hidden), dtype=dtype)
    out = x.new_empty(x.shape, dtype=out_dtype(x, residual, dtype))
    return out, row, torch.empty_like(row), s, d, torch.empty_like(d)


@torch.library.register_fake(f"{_NAME}_backward", lib=_library)
def _backward_fake(grad: Tensor, x: Tensor, *rest: Any) -> tuple[Tensor, ...]:
    weights = rest[5:-1]
    return x.new_empty(x.shape), *(
        x.new_empty(0) if w is None else w.new_empty(w.shape) for w in weights
    )


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    x, residual, *weights, scaling, _ = inputs
    ctx.save_for_backward(x, *output[1:], *weights)
    ctx.scaling = scaling
    ctx.residual_dtype = None if residual is None else residual.dtype
    ctx.mark_non_differentiable(*output[1:])
    ctx.set_materialize_grads(False)


def _autograd(ctx: Any, grad: Tensor | None, *_: None) -> tuple[Tensor | None, ...]:
    if grad is None:
        return (None,) * 16
    dx, *dweights = torch.ops.peclip_fast.temporal_adapter_native_backward(
        grad, *ctx.saved_tensors, ctx.scaling
    )
    dresidual = None if ctx.residual_dtype is None else grad.to(ctx.residual_dtype)
    if ctx.saved_tensors[8] is None:  # scale_weight
        dweights[2] = dweights[3] = None
    return dx, dresidual, *dweights, None, None


def _no_second_derivative(ctx: Any, *grads: Tensor) -> NoReturn:
    raise NotImplementedError(
        f"{OP}: the cpu and cuda backends have no second derivatives; "
        "use backend='reference' for them"
    )


torch.library.register_autograd(_NAME, _autograd, setup_context=_setup_context, lib=_library)
torch.library.register_autograd(f"{_NAME}_backward", _no_second_derivative, lib=_library)
