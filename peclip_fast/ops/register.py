"""How compiled kernels become operators of PyTorch: schemas, fake kernels, gradients, refusals.

torch.library's lower-level registration: a call of custom_op takes some 50 µs more of the host.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from operator import itemgetter
from typing import Any, NoReturn

import torch
from torch import Tensor

from peclip_fast.ops.implementations import implement_fused

_library = torch.library.Library("peclip_fast", "FRAGMENT")
# A backend's tensors. Those of Triton's interpreter are on the CPU.
_KEYS = {"cpu": ("CPU",), "triton": ("CUDA", "CPU"), "cuda": ("CUDA",)}

IMPLEMENTATIONS: dict[str, Callable[..., Any]] = {}
"""By name, what an operator of ``torch.ops.peclip_fast`` runs."""


def register(
    op: str,
    backend: str,
    *,
    forward: Callable[..., Any],
    forward_like: Callable[..., Any],
    backward: Callable[..., Any],
    backward_like: Callable[..., Any],
    gradients: Sequence[str],
    saved: Sequence[str] = (),
    added: Sequence[str] = (),
    unpack: Callable[..., Sequence[Tensor]] | None = None,
    schemas: tuple[str | None, str | None] = (None, None),
) -> Any:
    """Make ``peclip_fast::{op}_{backend}`` and, for its gradient, the same with ``_backward``.

    Both run without autocast: the dtypes that they are given are those that they compute in.

    Args:
        forward: takes the inputs; gives the result, or a tuple of the result and of the tensors
            that `saved` names.
        backward: takes the result's gradient and, matched by the names of its parameters, the
            inputs, the saved tensors and the ``result`` that it needs; gives the gradients of the
            inputs that `gradients` names, in that order.
        forward_like, backward_like: give tensors of the same shapes and dtypes without computing
            anything (fake kernels).
        gradients: the inputs that `backward` gives gradients of.
        saved: what `forward` gives besides its result, for the backward pass.
        added: inputs that are added to the result: their gradient is the result's.
        unpack: takes what `backward` gives and its arguments without the gradient; gives the
            gradients. For a `backward` that keeps them in one tensor, as an operator must not give
            several parts of one.
        schemas: of `forward` and `backward`, where the annotations don't say them.

    Returns:
        The first operator, to be called with all inputs by position. It is what runs `op` in
        `backend` from then on.
    """
    name = f"{op}_{backend}"
    operator = define(name, forward, forward_like, backend, schemas[0])
    operator_backward = define(f"{name}_backward", backward, backward_like, backend, schemas[1])
    setup_context, gradient = _derivative(
        operator, operator_backward, tuple(gradients), tuple(saved), tuple(added), unpack
    )
    torch.library.register_autograd(
        f"peclip_fast::{name}", gradient, setup_context=setup_context, lib=_library
    )
    refuse_second_derivatives(op, backend)
    implement_fused(op, backend, operator, (*gradients, *added))
    return operator


def define(
    name: str,
    function: Callable[..., Any],
    like: Callable[..., Any],
    backend: str,
    schema: str | None = None,
) -> Any:
    """Make ``peclip_fast::{name}`` of a function and its fake kernel, without a gradient."""
    _library.define(name + (schema or torch.library.infer_schema(function, mutates_args=())))
    IMPLEMENTATIONS[name] = function = _without_autocast(function)
    for key in _KEYS.get(backend, ("CUDA", "CPU")):  # other packages' are of any device
        _library.impl(name, function, key)
    torch.library.register_fake(f"peclip_fast::{name}", like, lib=_library)
    return getattr(torch.ops.peclip_fast, name).default


def _without_autocast(function: Callable[..., Any]) -> Callable[..., Any]:
    """Autocast would round within an operator, and forward only: backward runs outside of it."""

    @functools.wraps(function)
    def run(*arguments: Any) -> Any:
        kind = next(t.device.type for t in arguments if isinstance(t, Tensor))
        if not torch.is_autocast_enabled(kind):
            return function(*arguments)
        with torch.autocast(kind, enabled=False):
            return function(*arguments)

    return run


def _derivative(
    operator: Any,
    operator_backward: Any,
    gradients: tuple[str, ...],
    saved: tuple[str, ...],
    added: tuple[str, ...],
    unpack: Callable[..., Sequence[Tensor]] | None,
) -> tuple[Callable[..., None], Callable[..., tuple[Tensor | None, ...]]]:
    """What register_autograd takes: which arguments backward gets, and whose gradients it gives."""
    inputs = [argument.name for argument in operator._schema.arguments]
    wanted = operator_backward._schema.arguments[1:]
    known = [*inputs, "result", *saved]
    places = [known.index(a.name) for a in wanted]
    tensors = [i for i, a in enumerate(wanted) if "Tensor" in str(a.type)]
    constants = [i for i in range(len(wanted)) if i not in tensors]
    stored, rest = (_pick([places[i] for i in some]) for some in (tensors, constants))
    in_order = _pick([[*tensors, *constants].index(i) for i in range(len(wanted))])
    given = [inputs.index(name) for name in gradients]
    passed = [inputs.index(name) for name in added]
    # Where backward reads an input with a gradient, a second derivative meets that input and is
    # refused. Elsewhere it must meet what was saved, or it would silently be zero.
    meets_input = any(a.name in gradients for a in wanted)

    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        values = (*inputs, *output) if saved else (*inputs, output)
        ctx.save_for_backward(*stored(values))
        ctx.constants = rest(values)
        if saved and meets_input:
            ctx.mark_non_differentiable(*output[1:])
        ctx.set_materialize_grads(False)

    def gradient(ctx: Any, grad: Tensor | None, *_: None) -> tuple[Tensor | None, ...]:
        answer: list[Tensor | None] = [None] * len(inputs)
        if grad is None:
            return tuple(answer)
        arguments = in_order((*ctx.saved_tensors, *ctx.constants))
        results = operator_backward(grad, *arguments)
        if unpack is not None:
            results = unpack(results, *arguments)
        elif len(given) == 1:
            results = (results,)
        needed = ctx.needs_input_grad
        for place, result in zip(given, results, strict=True):
            answer[place] = result if needed[place] else None
        for place in passed:
            answer[place] = grad if needed[place] else None
        return tuple(answer)

    return setup_context, gradient


def _pick(places: list[int]) -> Callable[[Sequence[Any]], tuple[Any, ...]]:
    """What stands at these places of a sequence."""
    if len(places) > 1:
        return itemgetter(*places)
    return lambda values: tuple(values[place] for place in places)


def refuse_second_derivatives(op: str, backend: str) -> None:
    """Make the gradient of ``{op}_{backend}_backward`` an error: it would silently be zero."""

    def refuse(ctx: Any, *grads: Tensor) -> NoReturn:
        raise NotImplementedError(
            f"{op}: the {backend} backend has no second derivatives; "
            "use backend='reference' for them"
        )

    torch.library.register_autograd(f"peclip_fast::{op}_{backend}_backward", refuse, lib=_library)
