"""What is checked, what came of it, and which backend follows from that."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from peclip_fast.errors import InputError
from peclip_fast.ops.declared import PREFERENCE, Choice, Kind

STATES = ("passed", "failed", "unknown")
GAIN = 1.05  # times as fast as the others: a kernel that wins by less isn't worth a change
COMPILED = "torch.compile"  # the reference, compiled: timed beside the backends
# PyTorch's own, and of clips the decoder that is there anyway; where no other wins, the fastest.
PLAIN = ("reference", "cudnn", "pyav")


@dataclass(frozen=True)
class OperatorCall:
    """A call of an operator as a model makes it, by shapes and options."""

    op: str
    tensors: dict[str, list[int]]
    """The shapes of the operands, by argument; the first one is x."""
    trained: list[str]
    """Those whose gradient is asked for."""
    options: dict[str, Any]
    """The other arguments; None for a tensor that isn't there, and a dtype by its name."""
    dtype: str
    """This and what follows is what a backend is chosen by, see Kind."""
    width: int
    hidden: int
    frames: int
    variant: str
    dtypes: dict[str, str] = field(default_factory=dict)
    """Of operands that always have their own: of bytes, indices and masks, or float64."""

    def kind(self, device: str) -> Kind:
        """The kind of call that it is on a type of device."""
        dtype = getattr(torch, self.dtype, None)
        if not isinstance(dtype, torch.dtype):
            raise InputError(f"{self.dtype}: PyTorch has no such dtype")
        return Kind(
            self.op, device, dtype, self.width, self.hidden, self.frames, self.variant
        )  # fmt: skip

    @property
    def text(self) -> str:
        """The same for equal calls."""
        return json.dumps(dataclasses.asdict(self), sort_keys=True)

    @property
    def size(self) -> int:
        """Numbers in its operands."""
        return sum(torch.Size(shape).numel() for shape in self.tensors.values())

    def __str__(self) -> str:
        variant = f", {self.variant}" if self.variant else ""
        shape = "x".join(map(str, next(iter(self.tensors.values()))))
        return f"{self.op} {self.dtype} of {shape}, h {self.hidden}{variant}"


@dataclass(frozen=True)
class Verdict:
    """What is known of a backend for a call on a machine."""

    call: OperatorCall
    backend: str
    """Or COMPILED, of which nothing but times is known."""
    state: str
    """One of STATES."""
    reason: str = ""
    """What was said of it where it failed, or why nothing is known."""
    forward: float | None = None
    """Median time of a forward pass in ms, where it was timed."""
    both: float | None = None
    """Of a forward and a backward pass."""
    code: str = ""
    """Digest of the file that a kernel from elsewhere is in; ours are the machine's facts."""

    def __post_init__(self) -> None:
        if self.state not in STATES:
            raise InputError(f"{self.state}: expected one of {', '.join(STATES)}")

    @property
    def time(self) -> float | None:
        """By which backends are compared: of both passes, where there is a backward one."""
        return self.forward if self.both is None else self.both


@dataclass(frozen=True)
class Record:
    """Verdicts of a machine."""

    machine: dict[str, str]
    """The facts that they hold for, see machine.py."""
    verdicts: list[Verdict] = field(default_factory=list)
    models: dict[str, str] = field(default_factory=dict)
    """Digests of the models whose calls have all been checked, with what they are."""

    def of(self, call: OperatorCall) -> dict[str, Verdict]:
        """By backend."""
        return {v.backend: v for v in self.verdicts if v.call == call}

    def with_(self, verdicts: Iterable[Verdict], models: Mapping[str, str] | None = None) -> Record:
        """The same with further verdicts, which take the place of those of the same calls."""
        known = {(v.call.text, v.backend): v for v in [*self.verdicts, *verdicts]}
        return Record(self.machine, list(known.values()), self.models | dict(models or {}))


def choices(verdicts: Iterable[Verdict], device: str) -> dict[Kind, Choice]:
    """What ``auto`` takes for each kind of call, by all verdicts on calls of that kind."""
    by_kind: dict[Kind, list[Verdict]] = {}
    for verdict in verdicts:
        by_kind.setdefault(verdict.call.kind(device), []).append(verdict)
    return {kind: choice(found) for kind, found in by_kind.items()}


def choice(verdicts: Sequence[Verdict]) -> Choice:
    """The fastest backend that passed for all of these calls.

    A kernel has to be GAIN times as fast as the reference, eager and compiled, and as cuDNN. Where
    none is, cuDNN is taken if it is GAIN times as fast as the reference. Where nothing was timed,
    as no kernel is right, it is as if nothing had been checked.
    """
    refused: dict[str, str] = {}
    times: dict[str, float] = {}
    for verdict in verdicts:
        name = verdict.backend
        if verdict.state != "passed":
            said = "failed its check here" if verdict.state == "failed" else "not checked here"
            refused[name] = f"{said}: {verdict.reason}"
        elif verdict.time is not None:
            times[name] = times.get(name, 0.0) + verdict.time
    times = {name: time for name, time in times.items() if name not in refused}
    if not times:
        return Choice(None, refused)
    plain, *others = [name for name in PLAIN if name in times] or ["reference"]
    for name in others:
        plain = name if _wins(times, name, [plain]) else plain
    opponents = [*PLAIN, COMPILED]
    kernels = [name for name in times if name not in opponents and _wins(times, name, opponents)]
    best = min(kernels, key=lambda name: times[name], default=plain)
    if best != plain:
        near = [name for name in kernels if times[name] < GAIN * times[best]]
        best = min(near, key=_preferred)
    for name in {v.backend for v in verdicts} - {best, COMPILED, *refused}:
        refused[name] = _slower(name, best, times, opponents)
    return Choice(best, refused)


def _wins(times: Mapping[str, float], name: str, opponents: Sequence[str]) -> bool:
    return all(GAIN * times[name] <= times[o] for o in opponents if o in times and o != name)


def _preferred(name: str) -> int:
    order = [name for names in PREFERENCE.values() for name in names]
    return order.index(name) if name in order else len(order)


def _slower(name: str, best: str, times: Mapping[str, float], opponents: Sequence[str]) -> str:
    if name not in times:
        return f"not timed here; {best} is taken"
    fastest = min((o for o in [best, *opponents] if o in times), key=lambda o: times[o])
    return f"not faster here: {times[name]:.3g} ms, {fastest} {times[fastest]:.3g} ms"
