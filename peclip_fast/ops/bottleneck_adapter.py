"""The bottleneck adapter: ``residual + skip * x + scale * up(GELU(down(x)))``."""

from __future__ import annotations

from typing import Any, NoReturn

import torch
import torch.nn.functional as F
from torch import Tensor

from peclip_fast.errors import InputError
from peclip_fast.ops import (
    backends,
    bottleneck_adapter_cpu,  # noqa: F401  (registers itself)
)

OP = "bottleneck_adapter"


def bottleneck_adapter_reference(
    x: Tensor,
    down_weight: Tensor,
    down_bias: Tensor,
    up_weight: Tensor,
    up_bias: Tensor,
    residual: Tensor | None = None,
    *,
    skip: bool = True,
    scale: float = 1.0,
) -> Tensor:
    """Plain PyTorch, as the equation reads (paper, equations 3 to 6)."""
    y = F.linear(F.gelu(F.linear(x, down_weight, down_bias)), up_weight, up_bias)
    if scale != 1.0:
        y = scale * y
    if skip:
        y = x + y
    return y if residual is None else residual + y


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
        dtype = backends.product_dtype(x)
        chosen = backends.select(OP, backend, x.device, dtype, width, hidden)
        if chosen != "reference":
            weights = (down_weight, down_bias, up_weight, up_bias)
            return _fused(chosen, x, weights, residual, skip, scale, dtype)
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
    backend: str, x: Tensor, weights: tuple[Tensor, ...], residual: Tensor | None, skip: bool,
    scale: float, dtype: torch.dtype,
) -> Tensor:  # fmt: skip
    autocast = torch.is_autocast_enabled(x.device.type)
    backends.refuse_forward_mode(OP, backend, (x, *weights, residual))
    names = ("down_weight", "down_bias", "up_weight", "up_bias", "residual")
    for name, tensor in zip(names, (*weights, residual), strict=True):
        if tensor is None:
            continue
        if tensor.device != x.device:
            raise InputError(f"{OP}: {name} is on {tensor.device}, x on {x.device}")
        if name != "residual" and not autocast and tensor.dtype != dtype:
            raise InputError(f"{OP}: {name} is {tensor.dtype}, expected x's {dtype}")
        if tensor.dtype not in backends.FLOATS:
            raise InputError(f"{OP}: {name} is {tensor.dtype}, expected float32, bfloat16, float16")
    weights = tuple(w.to(dtype).contiguous() for w in weights)
    if backend == "cpu":
        operator = torch.ops.peclip_fast.bottleneck_adapter_cpu
        return operator(x, *weights, residual, skip, scale)[0]
    return torch.ops.peclip_fast.bottleneck_adapter_triton(x, *weights, residual, skip, scale)


backends.declare(
    OP,
    "triton",
    backends.Kernel(
        devices=("cuda",),
        missing=backends.triton_missing,
        width=(16, 4096),
        hidden=(1, 320),
        capability=(8, 0),
    ),
)

# torch.library's lower-level registration: less host time per call than custom_op.
_library = torch.library.Library("peclip_fast", "FRAGMENT")
_library.define(
    "bottleneck_adapter_triton(Tensor x, Tensor down_weight, Tensor down_bias, Tensor up_weight,"
    " Tensor up_bias, Tensor? residual, bool skip, float scale) -> Tensor"
)
_library.define(
    "bottleneck_adapter_triton_backward(Tensor grad, Tensor x, Tensor down_weight,"
    " Tensor down_bias, Tensor up_weight, bool skip, float scale) -> (Tensor, Tensor)"
)


def _forward(
    x: Tensor, down_weight: Tensor, down_bias: Tensor, up_weight: Tensor, up_bias: Tensor,
    residual: Tensor | None, skip: bool, scale: float,
) -> Tensor:  # fmt: skip
    from peclip_fast.kernels import bottleneck_adapter as kernels

    dtype = backends.promoted(down_weight, x if skip else None, residual)
    return kernels.forward(
        x, down_weight, down_bias, up_weight, up_bias, residual, skip, scale, dtype
    )


def _backward(
    grad: Tensor, x: Tensor, down_weight: Tensor, down_bias: Tensor, up_weight: Tensor,
    skip: bool, scale: float,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    from peclip_fast.kernels import bottleneck_adapter as kernels

    return kernels.backward(grad, x, down_weight, down_bias, up_weight, skip, scale)


# CUDA for the GPU; CPU for Triton's interpreter, which `backends` lets through only when it is on.
for _key in ("CUDA", "CPU"):
    _library.impl("bottleneck_adapter_triton", _forward, _key)
    _library.impl("bottleneck_adapter_triton_backward", _backward, _key)


@torch.library.register_fake("peclip_fast::bottleneck_adapter_triton", lib=_library)
def _forward_fake(
    x: Tensor, down_weight: Tensor, down_bias: Tensor, up_weight: Tensor, up_bias: Tensor,
    residual: Tensor | None, skip: bool, scale: float,
) -> Tensor:  # fmt: skip
    return x.new_empty(x.shape, dtype=backends.promoted(down_weight, x if skip else None, residual))


@torch.library.register_fake("peclip_fast::bottleneck_adapter_triton_backward", lib=_library)
def _backward_fake(
    grad: Tensor, x: Tensor, down_weight: Tensor, down_bias: Tensor, up_weight: Tensor,
    skip: bool, scale: float,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    hidden, width = down_weight.shape
    return x.new_empty(x.shape), down_weight.new_empty(2 * width * hidden + width + hidden)


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    x, down_weight, down_bias, up_weight, _, residual, skip, scale = inputs
    ctx.save_for_backward(x, down_weight, down_bias, up_weight)
    ctx.skip, ctx.scale = skip, scale
    ctx.residual_dtype = None if residual is None else residual.dtype


def _autograd(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    x, down_weight, down_bias, up_weight = ctx.saved_tensors
    dx, flat = torch.ops.peclip_fast.bottleneck_adapter_triton_backward(
        grad, x, down_weight, down_bias, up_weight, ctx.skip, ctx.scale
    )
    hidden, width = down_weight.shape
    dwd, dbd, dwu, dbu = flat.split((hidden * width, hidden, width * hidden, width))
    dresidual = None if ctx.residual_dtype is None else grad.to(ctx.residual_dtype)
    return dx, dwd.view(hidden, width), dbd, dwu.view(width, hidden), dbu, dresidual, None, None


torch.library.register_autograd(
    "peclip_fast::bottleneck_adapter_triton", _autograd, setup_context=_setup_context, lib=_library
)
backends.refuse_second_derivatives(_library, OP, "triton")
