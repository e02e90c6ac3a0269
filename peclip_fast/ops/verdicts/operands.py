"""Operands of a call, drawn at random, and the operator on them, forward and backward."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from peclip_fast import ops
from peclip_fast.errors import InputError
from peclip_fast.ops.verdicts.verdict import OperatorCall


@dataclass(frozen=True)
class Form:
    """How the operands of a call come.

    Args:
        dtype: of the tensors.
        autocast: the dtype that autocast is on with, or None.
        odd: whether x has few rows, in odd numbers, and is part of a wider tensor.
    """

    dtype: torch.dtype
    autocast: torch.dtype | None = None
    odd: bool = False

    def __str__(self) -> str:
        name = str(self.dtype).removeprefix("torch.")
        under = f" under {str(self.autocast).removeprefix('torch.')}" if self.autocast else ""
        return f"{name}{under}, {'an odd size' if self.odd else 'the size of the model'}"


ODD = (3, 5, 13)  # the last ones of x's leading sizes become these


def draw(call: OperatorCall, form: Form, device: torch.device, seed: int) -> dict[str, Tensor]:
    """Operands by name, with values that the form's dtype holds, or their own one."""
    generator = torch.Generator().manual_seed(seed)
    first, *_ = call.tensors.values()
    drawn = {}
    for name, shape in call.tensors.items():
        lead = len(shape) > 1 and shape[:-1] == first[:-1]
        sizes = list(shape)
        if lead and form.odd:
            sizes[:-1] = ODD[-len(shape[:-1]) :] if len(shape) <= 1 + len(ODD) else shape[:-1]
        spread = 1.0 if lead or len(shape) < 2 else shape[-1] ** -0.5
        wider = sizes[-1] + 3 * (lead and form.odd)
        own = call.dtypes.get(name)
        if own is None:
            values = torch.randn(*sizes[:-1], wider, generator=generator) * spread
            part = values.to(device, form.dtype)
        else:
            part = _of_its_own(own, [*sizes[:-1], wider], generator).to(device)
        drawn[name] = part[..., 1 : 1 + sizes[-1]] if wider != sizes[-1] else part
    return drawn


def _of_its_own(dtype: str, sizes: list[int], generator: torch.Generator) -> Tensor:
    """Bytes, a mask, an order of the first operand's parts, or constants, none of them near 0."""
    if dtype == "uint8":
        return torch.randint(256, sizes, generator=generator, dtype=torch.uint8)
    if dtype == "bool":
        return torch.rand(sizes, generator=generator) < 0.5
    if dtype == "int64" and len(sizes) == 1:
        return torch.randperm(sizes[0], generator=generator)
    if dtype == "float64":
        return 0.25 + torch.rand(sizes, generator=generator, dtype=torch.float64)
    raise InputError(f"an operand of {len(sizes)} dimensions in {dtype}: none can be drawn")


def both_ways(
    call: OperatorCall,
    backend: str,
    operands: dict[str, Tensor],
    autocast: torch.dtype | None = None,
    backward: bool = True,
    gradients: Sequence[Tensor] = (),
    function: Callable[..., object] | None = None,
    dtype: torch.dtype | None = None,
) -> dict[str, Tensor]:
    """The results, and the gradients of the operands that are trained.

    Args:
        gradients: results in whose dtypes the results' gradients are drawn; their own if none.
        function: in place of the operator, as compiled; takes what that takes.
        dtype: of operators that have such an option; the call's own if None.
    """
    function = function or getattr(ops, call.op)
    given = {
        name: t.detach().requires_grad_(backward and name in call.trained)
        for name, t in operands.items()
    }
    options = call.options
    if "dtype" in options:
        options = {**options, "dtype": dtype or getattr(torch, call.dtype)}
    kind = next(iter(operands.values())).device.type
    on = contextlib.nullcontext() if autocast is None else torch.autocast(kind, autocast)
    with torch.set_grad_enabled(backward), on:
        out = function(**given, **options, backend=backend)
    results = out if isinstance(out, tuple) else (out,)
    answer = {f"result {i}": y.detach() for i, y in enumerate(results)}
    wrt = {name: t for name, t in given.items() if t.requires_grad}
    used = [i for i, y in enumerate(results) if y.requires_grad]
    if wrt and used:
        drawn = [_gradient(gradients[i] if gradients else results[i]) for i in used]
        grads = torch.autograd.grad(
            [results[i] for i in used], list(wrt.values()),
            [g.to(results[i].dtype) for i, g in zip(used, drawn, strict=True)], allow_unused=True,
        )  # fmt: skip
        answer |= {
            f"gradient of {name}": grad
            for name, grad in zip(wrt, grads, strict=True)
            if grad is not None
        }
    return answer


def forget() -> None:
    """Let go of what is kept between calls of one size."""
    _gradients.clear()


_gradients: dict[tuple[object, ...], Tensor] = {}


def _gradient(y: Tensor) -> Tensor:
    """Of a result; kept, as a CUDA graph and a timed run must not wait for it."""
    key = (y.shape, y.dtype, y.device)
    if key not in _gradients:
        generator = torch.Generator().manual_seed(7)
        _gradients[key] = torch.randn(y.shape, generator=generator).to(y.device, y.dtype)
    return _gradients[key]
