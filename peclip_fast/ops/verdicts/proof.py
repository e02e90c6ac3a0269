"""What has to hold of a backend before ``auto`` may take it: `prove` goes through it for one call.

- Each result and gradient is as near to fp64 as eager PyTorch's: its error, largest and together,
  is at most twice eager's and half a unit in the last place. What eager's error owes to luck, as
  that of a single number does, is found by moving the operands by a rounding error.
- It writes every number of its results, none outside of its tensors, and none of its operands.
- It gives the same bits each time, on another stream, and from a CUDA graph.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import NoReturn

import torch
from torch import Tensor

from peclip_fast.errors import InputError
from peclip_fast.ops.register import IMPLEMENTATIONS
from peclip_fast.ops.verdicts.guards import Guards
from peclip_fast.ops.verdicts.operands import Form, both_ways, draw
from peclip_fast.ops.verdicts.verdict import OperatorCall

REPEATS = 20
DRAWS = 5  # of moved operands
DEVIATIONS = 12  # of eager's error that are luck: single numbers of a right kernel stay below
SLOW = 20.0  # times the reference's time, and
SLOW_SECONDS = 2.0  # more than it: not worth the repeats
SLEEP = 20_000_000  # cycles that another stream's operands are late by

Results = dict[str, Tensor]
Event = Callable[[str], None]


class WrongError(Exception):
    """Why a backend isn't right."""


def prove(call: OperatorCall, backend: str, device: torch.device, event: Event) -> None:
    """Check a backend on a call as a model makes it, and on an odd size.

    Args:
        event: is told what comes next.

    Raises:
        WrongError: says what doesn't hold.
        InputError: the backend doesn't run this call.
    """
    dtype = call.kind(device.type).dtype
    own = Form(dtype)
    _check_form(call, backend, device, own, event)
    _check_repeats(call, backend, device, own, event)
    if device.type == "cuda":
        event("on another stream")
        _check_stream(call, backend, device, own)
        event("in a CUDA graph")
        _check_graph(call, backend, device, own)
    if dtype in (torch.bfloat16, torch.float16):
        for given in (dtype, torch.float32):
            _check_form(call, backend, device, Form(given, autocast=dtype), event)
    odd = Form(dtype, odd=True)
    try:
        both_ways(call, "reference", draw(call, odd, device, 1))
    except (InputError, RuntimeError):
        return  # options that go with the model's own size only
    try:
        _check_form(call, backend, device, odd, event)
    except InputError:
        return  # it says itself that it doesn't take this size


def _check_form(
    call: OperatorCall, backend: str, device: torch.device, form: Form, event: Event
) -> None:
    event(f"{form}: the reference")
    operands = draw(call, form, device, 1)
    expected = _expected(call, operands, form)
    event(f"{form}: forward and backward")
    guards = Guards()
    given = {name: guards.between(t, what=f"its operand {name}") for name, t in operands.items()}
    with torch.autograd.set_multithreading_enabled(False), guards:
        found = both_ways(call, backend, given, form.autocast, dtype=form.dtype)
    _wait(device)
    for name, operand in operands.items():
        if not _same(given[name], operand):
            _wrong(form, f"it changes its operand {name}")
    if broken := guards.broken():
        _wrong(form, broken)
    names = {f"{call.op}_{backend}", f"{call.op}_{backend}_backward"} & IMPLEMENTATIONS.keys()
    if names and not guards.called & names:
        _wrong(form, f"the operator never calls {backend}'s kernel")
    for name, bound in expected.items():
        if name not in found:
            _wrong(form, f"no {name}")
        if said := bound.missed(found[name]):
            _wrong(form, f"{name}: {said}")


def _wrong(form: Form, said: str) -> NoReturn:
    raise WrongError(f"{said} ({form})")


@dataclass(frozen=True)
class _Bound:
    """What a result has to be near to."""

    truth: Tensor
    dtype: torch.dtype
    allowed: dict[str, float]
    eager: dict[str, float]

    def missed(self, result: Tensor) -> str | None:
        """What is wrong with a result, or None."""
        if result.shape != self.truth.shape or result.dtype != self.dtype:
            expected = f"{tuple(self.truth.shape)} {self.dtype}"
            return f"is {tuple(result.shape)} {result.dtype}, expected {expected}"
        if bad := int((~result.isfinite() & self.truth.isfinite()).sum()):
            return f"{bad} of {result.numel()} numbers are not finite"
        for measure, error in _errors(result, self.truth).items():
            if not error <= self.allowed[measure]:
                return (
                    f"error {error:.3g} ({measure}), eager PyTorch's {self.eager[measure]:.3g}, "
                    f"allowed {self.allowed[measure]:.3g}"
                )
        return None


def _expected(call: OperatorCall, operands: Results, form: Form) -> dict[str, _Bound]:
    doubles = {n: t.double() if t.is_floating_point() else t for n, t in operands.items()}
    dtypes = {name: t.dtype for name, t in operands.items()}
    eager = both_ways(call, "reference", operands, form.autocast, dtype=form.dtype)
    # The gradients of the results are drawn in their dtypes: fp64 gets the rounded values.
    exact = _in_double(call, doubles, eager)
    errors = {name: _errors(t, exact[name]) for name, t in eager.items()}
    moved: dict[str, list[dict[str, float]]] = {name: [] for name in eager}
    for seed in range(DRAWS):
        given = {n: _moved(t, dtypes[n], seed) for n, t in operands.items()}
        again = both_ways(call, "reference", given, form.autocast, dtype=form.dtype)
        for name, t in again.items():
            moved[name].append(_errors(t, exact[name]))
    bounds = {}
    for name, t in eager.items():
        allowed = {}
        half = torch.finfo(t.dtype).eps / 2
        least = {"largest": half * _largest(exact[name]), "together": half * _norm(exact[name])}
        for measure, error in errors[name].items():
            luck = _deviation([draw[measure] for draw in moved[name]])
            allowed[measure] = 2 * error + DEVIATIONS * luck + least[measure]
        bounds[name] = _Bound(exact[name], t.dtype, allowed, errors[name])
    return bounds


def _in_double(call: OperatorCall, doubles: Results, like: Results) -> Results:
    """The reference in fp64, with the results' gradients as they were in the dtypes of `like`."""
    return both_ways(call, "reference", doubles, gradients=list(like.values()), dtype=torch.float64)


def _moved(t: Tensor, dtype: torch.dtype, seed: int) -> Tensor:
    """By a rounding error, up or down; what isn't rounded stays."""
    if not dtype.is_floating_point:
        return t
    generator = torch.Generator().manual_seed(100 + seed)
    signs = torch.randint(0, 2, t.shape, generator=generator, dtype=torch.int8).to(t.device)
    eps = torch.finfo(dtype).eps
    return (t.double() * (1 + eps / 2 * (2 * signs - 1))).to(dtype)


def _errors(result: Tensor, truth: Tensor) -> dict[str, float]:
    distance = result.double() - truth
    return {"largest": _largest(distance), "together": _norm(distance)}


def _largest(t: Tensor) -> float:
    return t.abs().max().item() if t.numel() else 0.0


def _norm(t: Tensor) -> float:
    return t.norm().item()


def _deviation(values: list[float]) -> float:
    mean = sum(values) / len(values)
    return math.sqrt(sum((v - mean) ** 2 for v in values) / len(values))


def _check_repeats(
    call: OperatorCall, backend: str, device: torch.device, form: Form, event: Event
) -> None:
    operands = draw(call, form, device, 2)
    reference = _seconds(lambda: both_ways(call, "reference", operands), device)
    event("the first of its repeats")
    took = _seconds(lambda: both_ways(call, backend, operands), device)
    if took > SLOW * reference + SLOW_SECONDS:
        raise WrongError(f"too slow: {took:.2f} s, the reference takes {reference:.2f} s")
    first = both_ways(call, backend, operands)
    kept: list[Results] = []  # so that results lie elsewhere each time
    for number in range(2, REPEATS + 1):
        event(f"repeat {number} of {REPEATS}")
        again = both_ways(call, backend, operands)
        _compare(first, again, f"repeat {number} differs from the first one")
        kept = [*kept[-1:], again]


def _compare(expected: Results, found: Results, said: str) -> None:
    for name, t in expected.items():
        if name not in found or not _same(t, found[name]):
            raise WrongError(f"{name}: {said}")


def _same(a: Tensor, b: Tensor) -> bool:
    """Bit for bit."""
    if a.shape != b.shape or a.dtype != b.dtype:
        return False
    bits = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}[a.element_size()]
    return torch.equal(a.contiguous().view(bits), b.contiguous().view(bits))


def _check_stream(call: OperatorCall, backend: str, device: torch.device, form: Form) -> None:
    """Operands that another stream is late with."""
    operands = draw(call, form, device, 3)
    expected = both_ways(call, backend, operands)
    late = {name: torch.zeros_like(t) for name, t in operands.items()}
    torch.cuda.synchronize(device)
    stream = torch.cuda.Stream(device)
    with torch.cuda.stream(stream):
        torch.cuda._sleep(SLEEP)
        for name, t in operands.items():
            late[name].copy_(t)
        found = both_ways(call, backend, late)
    stream.synchronize()
    _compare(expected, found, "another stream gives other bits")


def _check_graph(call: OperatorCall, backend: str, device: torch.device, form: Form) -> None:
    """Captured with some operands, and replayed with others."""
    operands = draw(call, form, device, 4)
    side = torch.cuda.Stream(device)
    side.wait_stream(torch.cuda.current_stream(device))
    with torch.cuda.stream(side):
        for _ in range(3):
            both_ways(call, backend, operands)
    torch.cuda.current_stream(device).wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured = both_ways(call, backend, operands)
    for name, t in draw(call, form, device, 5).items():
        operands[name].copy_(t)
    graph.replay()
    _wait(device)
    _compare(both_ways(call, backend, operands), captured, "a CUDA graph gives other bits")


def _seconds(run: Callable[[], object], device: torch.device) -> float:
    _wait(device)
    start = time.perf_counter()
    run()
    _wait(device)
    return time.perf_counter() - start


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
