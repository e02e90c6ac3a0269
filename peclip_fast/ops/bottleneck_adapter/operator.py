"""The bottleneck adapter as an operator: checks, and the backend that runs it."""

from __future__ import annotations

from typing import NoReturn

import torch
from torch import Tensor

from peclip_fast.errors import InputError
from peclip_fast.ops import backends
from peclip_fast.ops.bottleneck_adapter.reference import OP, bottleneck_adapter_reference
from peclip_fast.ops.dtypes import FLOATS, product_dtype
from peclip_fast.ops.implementations import asks_for, run, with_gradients


def bottleneck_adapter(
    x: Tensor,
    down_weight: Tensor,
    down_bias: Tensor,
    up_weight: Tensor,
    up_bias: Tensor,
    residual: Tensor | None = None,
    *,
    skip: bool = True,
    scale: float = 1.0,
    backend: str = "auto",
) -> Tensor:
    """x (..., D) -> residual + skip * x + scale * up(GELU(down(x))).

    Args:
        x: (..., D), any leading shape and any strides.
        down_weight, down_bias: (h, D) and (h,), the layout of nn.Linear.
        up_weight, up_bias: (D, h) and (D,).
        residual: (..., D), the shape of `x`, or None for the form without it.
        skip: whether x itself is added.
        scale: factor of the up projection.
        backend: ``auto``, ``reference``, ``cpu`` or ``triton``.

    x and the weights have one dtype. Under autocast the products are in autocast's dtype, as
    F.linear's would be, while x and the residual are added in their own; the result has the dtype
    that PyTorch promotes the terms to. The fused backends have no second derivatives.

    Raises:
        InputError: a tensor has the wrong shape, dtype or device, or `backend` can't run this.
    """
    hidden, width = down_weight.shape if down_weight.dim() == 2 else (-1, -1)
    if not (
        x.shape[-1:] == (width,)
        and down_bias.shape == (hidden,)
        and up_weight.shape == (width, hidden)
        and up_bias.shape == (width,)
        and (residual is None or residual.shape == x.shape)
    ):
        _refuse_shapes(x, down_weight, down_bias, up_weight, up_bias, residual)
    if backend != "reference":
        dtype = product_dtype(x)
        chosen = backends.select(OP, backend, x.device, dtype, width, hidden)
        tensors = {
            "x": x, "down_weight": down_weight, "down_bias": down_bias, "up_weight": up_weight,
            "up_bias": up_bias, "residual": residual,
        }  # fmt: skip
        chosen = with_gradients(OP, backend, chosen, tensors)
        if chosen != "reference":
            return _fused(chosen, tensors, skip, scale, dtype)
    return bottleneck_adapter_reference(
        x, down_weight, down_bias, up_weight, up_bias, residual, skip=skip, scale=scale
    )


def _refuse_shapes(
    x: Tensor, down_weight: Tensor, down_bias: Tensor, up_weight: Tensor, up_bias: Tensor,
    residual: Tensor | None,
) -> NoReturn:  # fmt: skip
    if down_weight.dim() != 2:
        raise InputError(f"{OP}: down_weight has shape {tuple(down_weight.shape)}, expected (h, D)")
    hidden, width = down_weight.shape
    if x.shape[-1:] != (width,):
        raise InputError(
            f"{OP}: x has shape {tuple(x.shape)}, expected (..., {width}) "
            f"as down_weight is ({hidden}, {width})"
        )
    for name, tensor, expected in (
        ("down_bias", down_bias, (hidden,)),
        ("up_weight", up_weight, (width, hidden)),
        ("up_bias", up_bias, (width,)),
        ("residual", residual, tuple(x.shape)),
    ):
        if tensor is not None and tensor.shape != expected:
            raise InputError(
                f"{OP}: {name} has shape {tuple(tensor.shape)}, expected {tuple(expected)}"
            )
    raise AssertionError("every shape is as expected")


def _fused(
    backend: str, tensors: dict[str, Tensor | None], skip: bool, scale: float, dtype: torch.dtype
) -> Tensor:
    x = tensors["x"]
    assert x is not None
    autocast = torch.is_autocast_enabled(x.device.type)
    for name, tensor in tensors.items():
        if tensor is None or tensor is x:
            continue
        if tensor.device != x.device:
            raise InputError(f"{OP}: {name} is on {tensor.device}, x on {x.device}")
        if name != "residual" and not autocast and tensor.dtype != dtype:
            raise InputError(f"{OP}: {name} is {tensor.dtype}, expected x's {dtype}")
        if tensor.dtype not in FLOATS:
            raise InputError(f"{OP}: {name} is {tensor.dtype}, expected float32, bfloat16, float16")
    given = [t for t in tensors.values() if t is not None]
    save = torch.is_grad_enabled() and any(t.requires_grad for t in given)
    if not asks_for(OP, backend, "dtype"):  # or it casts the weights itself
        weights = {n: t for n, t in tensors.items() if t is not None and n not in ("x", "residual")}
        tensors = tensors | {name: w.to(dtype).contiguous() for name, w in weights.items()}
    options = {"skip": skip, "scale": scale, "dtype": dtype, "save": save}
    out: Tensor = run(OP, backend, {**tensors, **options})
    return out
