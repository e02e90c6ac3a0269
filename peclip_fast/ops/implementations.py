"""What runs a call of an operator in a backend: looked up by name, ours like a plugin's.

It gets of the call what its parameters are named after, so that one backend takes the products'
dtype and another doesn't.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from peclip_fast.errors import InputError


class Implementation(NamedTuple):
    """Of an operator in a backend."""

    function: Callable[..., Any]
    parameters: tuple[str, ...]
    gradients: tuple[str, ...] | None = None
    """The inputs that it gives gradients of; None for all of them."""
    fused: bool = False
    """Whether it is an operator of PyTorch without second and forward-mode derivatives."""


_found: dict[tuple[str, str], Implementation] = {}


def implement(op: str, backend: str, function: Callable[..., Any]) -> None:
    """Have `function` run `op` in `backend`, in place of what was registered under that name.

    For what isn't one operator of PyTorch, such as several of them. All that it does has gradients.

    Args:
        function: its parameters are named after the operator's arguments, or ``dtype``, which it
            is computed in, or ``save``, whether a backward pass may come. Gives the operator's
            result, or a tuple that begins with it.
    """
    _found[op, backend] = Implementation(function, tuple(inspect.signature(function).parameters))


def implement_fused(op: str, backend: str, operator: Any, gradients: Sequence[str] | None) -> None:
    """The same of an operator of PyTorch, by its schema; `gradients` None means all of them."""
    parameters = tuple(argument.name for argument in operator._schema.arguments)
    given = None if gradients is None else tuple(gradients)
    _found[op, backend] = Implementation(operator, parameters, given, fused=True)


def _find(op: str, backend: str) -> Implementation:
    if (op, backend) not in _found:
        # Not by our register(), but in our namespace all the same.
        packet = getattr(torch.ops.peclip_fast, f"{op}_{backend}", None)
        if packet is None:
            raise InputError(
                f"{op}: the backend {backend!r} is declared, but nothing is registered that runs it"
            )
        implement_fused(op, backend, packet.default, None)
    return _found[op, backend]


def asks_for(op: str, backend: str, argument: str) -> bool:
    """Whether what runs `op` in `backend` has a parameter of this name."""
    return argument in _find(op, backend).parameters


def run(op: str, backend: str, call: Mapping[str, Any], results: int = 1) -> Any:
    """Run a call, by the names of its arguments; gives the operator's result, or so many of them.

    Raises:
        InputError: nothing runs it, or what does asks for something that no call of `op` has.
        NotImplementedError: a tensor has a forward-mode tangent that would get lost.
    """
    function, parameters, _, fused = _find(op, backend)
    for name in parameters:
        if name not in call:
            raise InputError(
                f"{op}: the backend {backend!r} asks for {name!r}, expected any of "
                f"{', '.join(call)}"
            )
    if fused:
        refuse_forward_mode(op, backend, [t for t in call.values() if isinstance(t, Tensor)])
    answer = function(*[call[name] for name in parameters])
    if results > 1:
        return tuple(answer[:results])
    return answer[0] if isinstance(answer, (tuple, list)) else answer


def with_gradients(
    op: str, backend: str, chosen: str, inputs: Mapping[str, Tensor | None]
) -> str:  # fmt: skip
    """`chosen`, or the reference where that gives no gradient of an input that is trained.

    Raises:
        InputError: `backend` names it all the same.
    """
    if chosen == "reference" or not torch.is_grad_enabled():
        return chosen
    given = _find(op, chosen).gradients
    if given is None:
        return chosen
    lost = [
        name
        for name, t in inputs.items()
        if t is not None and t.requires_grad and name not in given
    ]
    if not lost:
        return chosen
    if backend == chosen:
        what = "the weights" if all("weight" in n or "bias" in n for n in lost) else lost[0]
        raise InputError(f"{op}: the {backend} backend gives no gradients of {what}")
    return "reference"


def refuse_forward_mode(op: str, backend: str, tensors: Sequence[Tensor | None]) -> None:
    """Raise NotImplementedError if a tensor has a forward-mode tangent: kernels would drop it."""
    if torch.compiler.is_compiling():
        return
    unpack = torch.autograd.forward_ad.unpack_dual
    if any(t is not None and unpack(t).tangent is not None for t in tensors):
        raise NotImplementedError(
            f"{op}: the {backend} backend has no forward-mode derivatives (jvp); "
            "use backend='reference' for them"
        )
