"""The temporal adapter as an operator: checks, and the backend that runs it."""

from __future__ import annotations

import torch
from torch import Tensor

from peclip_fast.errors import InputError
from peclip_fast.ops import backends
from peclip_fast.ops.dtypes import FLOATS, product_dtype
from peclip_fast.ops.implementations import run, with_gradients
from peclip_fast.ops.temporal_adapter import cudnn
from peclip_fast.ops.temporal_adapter.reference import temporal_adapter_reference
from peclip_fast.ops.temporal_adapter.weights import OP, SCALINGS, TemporalWeights


def temporal_adapter(
    x: Tensor,
    residual: Tensor | None,
    norm_weight: Tensor,
    norm_bias: Tensor,
    scale_weight: Tensor | None,
    scale_bias: Tensor | None,
    down_weight: Tensor,
    down_bias: Tensor,
    weight_ih: Tensor,
    weight_hh: Tensor,
    bias_ih: Tensor,
    bias_hh: Tensor,
    up_weight: Tensor,
    up_bias: Tensor,
    *,
    scaling: str = "after_up",
    backend: str = "auto",
) -> Tensor:
    """x, residual (B, T, L, D) -> residual + x + TDA(x); residual None means without it.

    Every sequence, a token position of a clip, goes through its T frames on its own, from a zero
    state.

    Args:
        x: (B, T, L, D), any strides.
        residual: the shape of `x`, or None for the form without it.
        norm_weight, norm_bias: (D,), of the LayerNorm (eps 1e-5).
        scale_weight, scale_bias: (1, D) and (1,); not used and may be None with ``scaling="none"``.
        down_weight, down_bias: (h, D) and (h,).
        weight_ih, weight_hh, bias_ih, bias_hh: (3h, h), (3h, h), (3h,), (3h,), as nn.GRU has them.
        up_weight, up_bias: (D, h) and (D,).
        scaling: where the scale s multiplies: ``none``, ``input`` of the recurrence, what comes
            out of the ``recurrence``, or ``after_up``, the up-projection (the paper's).
        backend: ``auto``, ``reference``, ``cpu``, ``triton``, ``cuda``, or ``cudnn``, which is the
            reference around cuDNN's GRU.

    x and the weights have one dtype. Under autocast the products are in autocast's dtype, as
    F.linear's would be, while x and the residual are added in their own; the result has the dtype
    that PyTorch promotes the terms to. The fused backends have no second derivatives.

    Raises:
        InputError: a tensor has the wrong shape, dtype or device, `scaling` is unknown, or
            `backend` can't run this.
    """
    if scaling == "none":
        scale_weight = scale_bias = None
    weights = TemporalWeights(
        norm_weight, norm_bias, scale_weight, scale_bias, down_weight, down_bias,
        weight_ih, weight_hh, bias_ih, bias_hh, up_weight, up_bias,
    )  # fmt: skip
    _check_shapes(x, residual, weights, scaling)
    if backend != "reference":
        dtype = product_dtype(x)
        hidden, width = down_weight.shape
        sizes = width, hidden, x.shape[1]
        chosen = backends.select(OP, backend, x.device, dtype, *sizes, variant=scaling)
        # Exporters know PyTorch's GRU, and would write out a loop frame by frame.
        if torch.compiler.is_exporting():
            return cudnn.temporal_adapter(x, residual, weights, scaling)
        tensors = {"x": x, "residual": residual, **weights._asdict()}
        chosen = with_gradients(OP, backend, chosen, tensors)
        if chosen != "reference":
            return _fused(chosen, x, residual, weights, scaling, dtype)
    return temporal_adapter_reference(x, residual, weights, scaling=scaling)


def _fused(
    backend: str, x: Tensor, residual: Tensor | None, weights: TemporalWeights, scaling: str,
    dtype: torch.dtype,
) -> Tensor:  # fmt: skip
    tensors = (x, residual, *weights)
    _check_kinds(x, residual, weights)
    if x.dtype not in (dtype, torch.float32):
        x = x.to(dtype)
    save = torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in tensors)
    call = {"x": x, "residual": residual, "weights": weights, **weights._asdict()}
    out: Tensor = run(OP, backend, {**call, "scaling": scaling, "dtype": dtype, "save": save})
    return out


def _check_shapes(
    x: Tensor, residual: Tensor | None, weights: TemporalWeights, scaling: str
) -> None:
    if scaling not in SCALINGS:
        raise InputError(f"{OP}: scaling {scaling!r} is not one of {', '.join(SCALINGS)}")
    if x.dim() != 4:
        raise InputError(f"{OP}: x has shape {tuple(x.shape)}, expected (B, T, L, D)")
    down_weight, width = weights.down_weight, x.shape[3]
    if down_weight is None or down_weight.dim() != 2:
        raise InputError(f"{OP}: down_weight has no shape (h, D)")
    hidden = down_weight.shape[0]
    scale = ((1, width), (1,)) if scaling != "none" else (None, None)
    expected = (
        (width,), (width,), *scale, (hidden, width), (hidden,), (3 * hidden, hidden),
        (3 * hidden, hidden), (3 * hidden,), (3 * hidden,), (width, hidden), (width,),
    )  # fmt: skip
    for name, tensor, shape in zip(weights._fields, weights, expected, strict=True):
        found = None if tensor is None else tuple(tensor.shape)
        if found != shape:
            raise InputError(
                f"{OP}: {name} has shape {found}, expected {shape} "
                f"as x is {tuple(x.shape)}, h is {hidden} and scaling is {scaling!r}"
            )
    if residual is not None and residual.shape != x.shape:
        raise InputError(
            f"{OP}: residual has shape {tuple(residual.shape)}, expected x's {tuple(x.shape)}"
        )


def _check_kinds(x: Tensor, residual: Tensor | None, weights: TemporalWeights) -> None:
    autocast = torch.is_autocast_enabled(x.device.type) and x.dtype != torch.float64
    for name, tensor in zip((*weights._fields, "residual"), (*weights, residual), strict=True):
        if tensor is None:
            continue
        if tensor.device != x.device:
            raise InputError(f"{OP}: {name} is on {tensor.device}, x on {x.device}")
        if tensor.dtype not in FLOATS:
            raise InputError(f"{OP}: {name} is {tensor.dtype}, expected float32, bfloat16, float16")
        if name != "residual" and not autocast and tensor.dtype != x.dtype:
            raise InputError(f"{OP}: {name} is {tensor.dtype}, expected x's {x.dtype}")
