"""The temporal adapter's compiled backends as operators of torch.library, all of one shape.

A backend gives three functions over the same arguments: ``forward``, ``backward`` and ``saved``,
which says what forward saves without computing it. They are registered with torch.library's
lower-level form: less host time per call than custom_op.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from peclip_fast.ops import backends

OP = "temporal_adapter"

_WEIGHTS = (
    "Tensor norm_weight, Tensor norm_bias, Tensor? scale_weight, Tensor? scale_bias,"
    " Tensor down_weight, Tensor down_bias, Tensor weight_ih, Tensor weight_hh, Tensor bias_ih,"
    " Tensor bias_hh, Tensor up_weight, Tensor up_bias, str scaling, ScalarType dtype"
)
_library = torch.library.Library("peclip_fast", "FRAGMENT")


def run(
    backend: str,
    x: Tensor,
    residual: Tensor | None,
    weights: tuple[Tensor | None, ...],
    scaling: str,
    dtype: torch.dtype,
) -> Tensor:
    """The operator on checked tensors, its products in `dtype`; x is float32 or of `dtype`."""
    tensors = (x, residual, *weights)
    save = torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in tensors)
    operator = getattr(torch.ops.peclip_fast, f"{OP}_{backend}")
    return operator(*tensors, scaling, dtype, save)[0]


def out_dtype(x: Tensor, residual: Tensor | None, dtype: torch.dtype) -> torch.dtype:
    """What PyTorch promotes the three terms of the sum to."""
    promoted = torch.promote_types(x.dtype, dtype)
    return promoted if residual is None else torch.promote_types(promoted, residual.dtype)


def unit_stride(x: Tensor) -> Tensor:
    """The kernels take any strides but the last dimension's."""
    return x if x.stride(-1) == 1 else x.contiguous()


def register(
    backend: str,
    forward: Callable[..., tuple[Tensor, ...]],
    backward: Callable[..., Sequence[Tensor | None]],
    saved: Callable[..., Sequence[Tensor]],
    count: int,
) -> None:
    """Make a backend's functions operators with fake kernels and a gradient.

    With W the twelve weights as the operator has them, scaling and dtype:

        forward(x, residual, *W, save) -> (out, *saved), `count` saved tensors, empty unless `save`
        backward(grad, x, saved, *W) -> gradients of x and of the twelve weights
        saved(x, *W) -> tensors like those that forward saves

    The gradients come in any float dtype, and as None for a weight that is None.
    """
    name = f"{OP}_{backend}"
    _library.define(
        f"{name}(Tensor x, Tensor? residual, {_WEIGHTS}, bool save)"
        f" -> ({', '.join(['Tensor'] * (1 + count))})"
    )
    _library.define(
        f"{name}_backward(Tensor grad, Tensor x, Tensor[] saved, {_WEIGHTS})"
        f" -> ({', '.join(['Tensor'] * 13)})"
    )

    def backward_in_own_dtypes(
        grad: Tensor, x: Tensor, kept: list[Tensor], *weights: Any
    ) -> tuple[Tensor, ...]:
        gradients = backward(grad, x, kept, *weights)
        # A copy each: an operator must not give two parts of one tensor.
        return tuple(
            x.new_empty(0)
            if g is None or t is None
            else torch.empty_like(t, memory_format=_DENSE).copy_(g)
            for g, t in zip(gradients, (x, *weights[:12]), strict=True)
        )

    def forward_fake(x: Tensor, residual: Tensor | None, *rest: Any) -> tuple[Tensor, ...]:
        *weights, save = rest
        out = x.new_empty(x.shape, dtype=out_dtype(x, residual, weights[13]))
        return out, *(saved(x, *weights) if save else empties(x, count))

    def backward_fake(
        grad: Tensor, x: Tensor, _: list[Tensor], *weights: Any
    ) -> tuple[Tensor, ...]:
        return tuple(
            x.new_empty(0) if t is None else t.new_empty(t.shape) for t in (x, *weights[:12])
        )

    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        x, residual, *weights, scaling, dtype, _ = inputs
        ctx.save_for_backward(x, *weights, *output[1:])
        ctx.rest = scaling, dtype
        ctx.residual_dtype = None if residual is None else residual.dtype
        ctx.mark_non_differentiable(*output[1:])
        ctx.set_materialize_grads(False)

    def autograd(ctx: Any, grad: Tensor | None, *_: None) -> tuple[Tensor | None, ...]:
        if grad is None:
            return (None,) * 17
        x, *tensors = ctx.saved_tensors
        weights, kept = tensors[:12], tensors[12:]
        dx, *gradients = getattr(torch.ops.peclip_fast, f"{name}_backward")(
            grad, x, kept, *weights, *ctx.rest
        )
        dresidual = None if ctx.residual_dtype is None else grad.to(ctx.residual_dtype)
        given = (None if w is None else g for g, w in zip(gradients, weights, strict=True))
        return dx, dresidual, *given, None, None, None

    for key in ("CPU", "CUDA"):  # `backends` says which of them a backend takes
        _library.impl(name, forward, key)
        _library.impl(f"{name}_backward", backward_in_own_dtypes, key)
    torch.library.register_fake(f"peclip_fast::{name}", forward_fake, lib=_library)
    torch.library.register_fake(f"peclip_fast::{name}_backward", backward_fake, lib=_library)
    torch.library.register_autograd(
        f"peclip_fast::{name}", autograd, setup_context=setup_context, lib=_library
    )
    backends.refuse_second_derivatives(_library, OP, backend)


_DENSE = torch.contiguous_format


def empties(x: Tensor, count: int) -> list[Tensor]:
    """What forward saves when nothing is to be saved."""
    return [x.new_empty(0) for _ in range(count)]
