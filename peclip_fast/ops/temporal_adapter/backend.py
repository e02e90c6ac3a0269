"""What the temporal adapter's backends share: how one becomes an operator of PyTorch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from peclip_fast.ops import register as operators
from peclip_fast.ops.temporal_adapter.weights import OP, TemporalWeights

_COUNT = len(TemporalWeights._fields)
_OPTIONAL = ("scale_weight", "scale_bias")
_ARGUMENTS = ", ".join(
    [f"Tensor{'?' * (name in _OPTIONAL)} {name}" for name in TemporalWeights._fields]
    + ["str scaling", "ScalarType dtype"]
)


def out_dtype(x: Tensor, residual: Tensor | None, dtype: torch.dtype) -> torch.dtype:
    """What PyTorch promotes the three terms of the sum to."""
    promoted = torch.promote_types(x.dtype, dtype)
    return promoted if residual is None else torch.promote_types(promoted, residual.dtype)


def unit_stride(x: Tensor) -> Tensor:
    """The kernels take any strides but the last dimension's."""
    return x if x.stride(-1) == 1 else x.contiguous()


class PackedGradients(NamedTuple):
    """Gradients of the weights that are parts of few tensors, which `backward` gives after x's.

    like(x, weights) -> tensors like those of `backward` that hold nothing
    unpack(results, weights) -> gradients of x and of the weights
    """

    tensors: int
    """How many, x's gradient being the first."""
    like: Callable[..., tuple[Tensor, ...]]
    unpack: Callable[..., list[Tensor | None]]


def register(
    backend: str,
    forward: Callable[..., tuple[Tensor, Any]],
    backward: Callable[..., Any],
    saved_like: Callable[..., Any],
    saved: Any,
    packed: PackedGradients | None = None,
) -> None:
    """Make a backend's functions an operator; see ``peclip_fast.ops.register``.

    With `weights` a TemporalWeights, `dtype` that of the products, and `kept` of the named tuple
    `saved`, what the backward pass needs besides the inputs:

        forward(x, residual, weights, scaling, dtype, save) -> out, kept, or None unless `save`
        backward(grad, x, kept, weights, scaling, dtype) -> gradients of x and of the weights
        saved_like(x, weights, scaling, dtype) -> tensors like `kept`'s that hold nothing

    x is float32 or of `dtype`. The gradients come in any float dtype, and as None for a weight that
    is None; or as `packed` says.
    """
    count = len(saved._fields)

    def forward_flat(x: Tensor, residual: Tensor | None, *rest: Any) -> tuple[Tensor, ...]:
        *weights, scaling, dtype, save = rest
        out, kept = forward(x, residual, TemporalWeights(*weights), scaling, dtype, save)
        return out, *(_nothing(x, count) if kept is None else kept)

    def forward_like(x: Tensor, residual: Tensor | None, *rest: Any) -> tuple[Tensor, ...]:
        *weights, scaling, dtype, save = rest
        out = x.new_empty(x.shape, dtype=out_dtype(x, residual, dtype))
        if not save:
            return out, *_nothing(x, count)
        return out, *saved_like(x, TemporalWeights(*weights), scaling, dtype)

    def backward_flat(grad: Tensor, x: Tensor, *rest: Any) -> tuple[Tensor, ...]:
        kept, weights = saved(*rest[:count]), TemporalWeights(*rest[count:-2])
        results = backward(grad, x, kept, weights, *rest[-2:])
        if packed is not None:
            return tuple(results)
        dx, gradients = results
        return _of_their_own((dx, *gradients), (x, *weights), (grad, x, *kept, *weights))

    def backward_like(grad: Tensor, x: Tensor, *rest: Any) -> tuple[Tensor, ...]:
        if packed is not None:
            return packed.like(x, TemporalWeights(*rest[count:-2]))
        tensors = (x, *rest[count:-2])
        return tuple(x.new_empty(0) if t is None else t.new_empty(t.shape) for t in tensors)

    def unpack(results: tuple[Tensor, ...], x: Tensor, *rest: Any) -> Sequence[Any]:
        weights = TemporalWeights(*rest[count:-2])
        return results if packed is None else packed.unpack(results, weights)

    given = 1 + _COUNT if packed is None else packed.tensors
    operators.register(
        OP,
        backend,
        forward=forward_flat,
        forward_like=forward_like,
        backward=backward_flat,
        backward_like=backward_like,
        gradients=("x", *TemporalWeights._fields),
        saved=saved._fields,
        added=("residual",),
        unpack=unpack,
        schemas=_schemas(saved._fields, given),
    )


def _storage(t: Tensor) -> int:
    return t.untyped_storage()._cdata


def _of_their_own(
    gradients: Sequence[Tensor | None],
    like: Sequence[Tensor | None],
    given: Sequence[Tensor | None],
) -> tuple[Tensor, ...]:
    """Gradients as an operator may give them; nothing for those that aren't there."""
    taken = {_storage(t) for t in given if t is not None}
    empty = next(t for t in like if t is not None).new_empty(0)
    return tuple(
        empty.clone() if g is None or t is None else _of_its_own(g, t, taken)
        for g, t in zip(gradients, like, strict=True)
    )


def _of_its_own(gradient: Tensor, like: Tensor, taken: set[int]) -> Tensor:
    """The gradient in the dtype of `like`, or a copy: an operator must give nothing that it was
    given, and no two parts of one tensor."""
    storage = _storage(gradient)
    if (
        gradient.dtype == like.dtype
        and gradient.is_contiguous()
        and gradient.untyped_storage().nbytes() == gradient.nbytes
        and storage not in taken
    ):
        taken.add(storage)
        return gradient
    return torch.empty_like(like, memory_format=torch.contiguous_format).copy_(gradient)


def _schemas(saved: tuple[str, ...], given: int) -> tuple[str, str]:
    """Of forward and backward, which gives so many tensors."""
    kept = ", ".join(f"Tensor {name}" for name in saved)
    return (
        f"(Tensor x, Tensor? residual, {_ARGUMENTS}, bool save) -> ({_tensors(1 + len(saved))})",
        f"(Tensor grad, Tensor x, {kept}, {_ARGUMENTS}) -> ({_tensors(given)})",
    )


def _tensors(count: int) -> str:
    return ", ".join(["Tensor"] * count)


def _nothing(x: Tensor, count: int) -> list[Tensor]:
    return [x.new_empty(0) for _ in range(count)]
