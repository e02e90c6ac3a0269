"""From a model's calls to what ``auto`` takes: known verdicts first, then checks of what is new."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from peclip_fast.errors import InputError
from peclip_fast.ops.declared import declared_in, kernels_of, why_not
from peclip_fast.ops.verdicts import machine, process
from peclip_fast.ops.verdicts.child import REFUSED, Origin, Task
from peclip_fast.ops.verdicts.verdict import OperatorCall, Record, Verdict

LIMIT = "PECLIP_FAST_CHECK_SECONDS"  # the variable that says how long a call's check may take
_SECONDS = 120.0
_OURS = "peclip_fast."
MEMORY = 4 << 30  # bytes that have to be free on a GPU
# Of the calls of an operator the largest one; compiling takes longer than all the rest.
_COMPILED_CALLS = 1


def limit() -> float:
    """Seconds that the check of a call may take before its process is killed."""
    given = os.environ.get(LIMIT, "")
    try:
        seconds = float(given) if given else _SECONDS
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < float("inf"):
        raise InputError(f"{LIMIT}={given}: expected seconds, more than 0")
    return seconds


def candidates(call: OperatorCall, device: torch.device, every: bool = False) -> list[str]:
    """The backends whose kernels are to be checked for a call: those that can run it here.

    Args:
        every: also those that are verified already.
    """
    kind = call.kind(device.type)
    return [
        name
        for name, kernel in kernels_of(call.op).items()
        if device.type in kernel.devices  # no interpreter stands in for them
        and (every or not kernel.verified)
        and why_not(call.op, name, device, kind.dtype, *kind[3:6]) is None
    ]


def check(
    calls: Sequence[OperatorCall], device: torch.device, known: Record, *, every: bool = False,
    force: bool = False, seconds: float | None = None,
    tell: Callable[[str], None] = lambda line: None,
) -> list[Verdict]:  # fmt: skip
    """Verdicts on the calls' kernels that nothing is known of yet, and the times of all.

    Args:
        known: what needs no check.
        every: also check kernels that are verified already.
        force: check again what is known.
        seconds: that the check of a call may take; see limit().
        tell: gets a line for each backend.
    """
    refusal = not_now(device)
    longest = limit() if seconds is None else seconds
    found: list[Verdict] = []
    for op in dict.fromkeys(call.op for call in calls):
        some = [call for call in calls if call.op == op]
        proven: list[Verdict] = []
        names = {name for call in some for name in candidates(call, device, every)}
        for name in [name for name in kernels_of(op) if name in names]:
            able = [call for call in some if name in candidates(call, device, every)]
            former = {} if force else _former(known, able, name)
            new = [call for call in able if call.text not in former]
            if new and refusal:
                proven += [Verdict(call, name, "unknown", refusal) for call in new]
            elif new:
                tell(f"checking {op} {name} on {device.type}")
                verdicts = _prove(new, name, device, longest)
                proven += verdicts
                for said in dict.fromkeys(v.reason for v in verdicts if v.state != "passed"):
                    tell(f"{op} {name}: {said}")
            proven += former.values()
        if any(v.state == "passed" for v in proven):  # verified ones take part in the race
            seen = {v.call.text for v in proven}
            proven += [
                (None if force else known.of(call).get(name)) or Verdict(call, name, "passed")
                for call in some
                if call.text in seen
                for name in candidates(call, device, every=True)
                if name not in names
            ]
        timed = all(v.time is not None for v in proven if v.state == "passed")
        if not timed:
            proven = _race(proven, device, longest)
        found += proven
    return found


def code_of(op: str, backend: str) -> str:
    """The digest of the file that a kernel of another package is in; nothing for ours."""
    origin = origin_of(op, backend)
    return machine.digest([Path(origin.file)]) if origin and origin.file else ""


def origin_of(op: str, backend: str) -> Origin | None:
    """Where a kernel of another package is declared; None for ours."""
    name = declared_in(op, backend)
    if not name or name.startswith(_OURS):
        return None
    file = getattr(sys.modules.get(name), "__file__", None)
    return Origin(name, str(Path(file).resolve()) if file else None)


def _former(known: Record, calls: Iterable[OperatorCall], backend: str) -> dict[str, Verdict]:
    code, former = code_of(calls_op(calls), backend), {}
    for call in calls:
        verdict = known.of(call).get(backend)
        if verdict is not None and verdict.state != "unknown" and verdict.code == code:
            former[call.text] = verdict
    return former


def calls_op(calls: Iterable[OperatorCall]) -> str:
    """The operator that all of these are calls of."""
    return next(iter(calls)).op


def _prove(
    calls: Sequence[OperatorCall], backend: str, device: torch.device, longest: float
) -> list[Verdict]:
    code = code_of(calls_op(calls), backend)
    answers = _child("prove", calls, [backend], device, longest)
    last = answers.state, answers.reason
    found = [answers.verdicts.get(number, last) for number in range(len(calls))]
    bad = [i for i, (state, _) in enumerate(found) if state not in ("passed", REFUSED)]
    wrong = bad[0] if bad else None
    if wrong is not None and _state(found[wrong][0]) == "failed":
        # A kernel that is wrong once is taken nowhere.
        said = found[wrong][1]
        also = "failed", f"failed for {calls[wrong]}: {said}"
        found = [("failed", said) if i == wrong else also for i in range(len(calls))]
    return [
        Verdict(call, backend, _state(state), reason, code=code)
        for call, (state, reason) in zip(calls, found, strict=True)
    ]


def _state(state: str) -> str:
    return state if state in ("passed", "unknown") else "failed"


def _race(proven: list[Verdict], device: torch.device, longest: float) -> list[Verdict]:
    """The same with times, and with those of PyTorch's own ways.

    Who crashes here, or hangs, has failed; the others run again.
    """
    calls = {v.call.text: v.call for v in proven if v.state == "passed"}
    by_size = sorted(calls.values(), key=lambda call: -call.size)
    answer = {(v.call.text, v.backend): v for v in proven}
    while True:
        names = list(dict.fromkeys(v.backend for v in answer.values() if v.state == "passed"))
        if not names:
            break
        compiled = [device.type == "cuda" and n < _COMPILED_CALLS for n in range(len(by_size))]
        answers = _child("race", by_size, ["reference", *names], device, longest, compiled)
        if answers.state == "done" or answers.turn not in names:
            break
        for key, verdict in answer.items():
            if verdict.backend == answers.turn and verdict.state == "passed":
                said = f"{answers.reason} while it was timed"
                answer[key] = Verdict(
                    verdict.call, verdict.backend, _state(answers.state), said, code=verdict.code
                )
    if names:
        for number, call in enumerate(by_size):
            for name, times in answers.times.get(number, {}).items():
                old = answer.get((call.text, name), Verdict(call, name, "passed"))
                if old.state == "passed":
                    answer[call.text, name] = Verdict(
                        call, name, "passed", "", times.get("forward"), times.get("both"), old.code
                    )
    return list(answer.values())


def _child(
    what: str, calls: Sequence[OperatorCall], backends: list[str], device: torch.device,
    longest: float,
    compiled: list[bool] | None = None,
) -> process.ChildAnswers:  # fmt: skip
    origins = {name: origin_of(calls_op(calls), name) for name in backends}
    return run_task(
        what, [asdict(call) for call in calls], device, longest, backends,
        [origin for origin in origins.values() if origin is not None], compiled,
    )  # fmt: skip


def run_task(
    what: str, calls: list[dict[str, Any]], device: torch.device, longest: float,
    backends: Sequence[str] = (), origins: Sequence[Origin] = (),
    compiled: list[bool] | None = None,
) -> process.ChildAnswers:  # fmt: skip
    """Have a process of its own do a Task on this device, and be killed where it takes too long."""
    gpu = device.type == "cuda"
    task = Task(
        what,
        calls,
        list(backends),
        list(origins),
        "cuda:0" if gpu else device.type,
        [entry or os.getcwd() for entry in sys.path],
        torch.get_num_threads(),
        compiled=compiled or [False] * len(calls),
        least_memory=MEMORY if gpu else 0,
        alarm=int(longest * (len(calls) + 1)) + 60,
    )
    environment = {"CUDA_VISIBLE_DEVICES": machine.visible(device)} if gpu else {}
    return process.run(task, longest, environment)


def not_now(device: torch.device) -> str | None:
    """Why no other process may use this device now."""
    if device.type != "cuda":
        return None
    if any(name.startswith("CUDA_MPS_") for name in os.environ):
        return "not checked under MPS, where a kernel that fails ends other processes' work"
    mode = machine.queried(device).get("compute_mode", "Default")
    if mode not in ("Default", "[N/A]"):
        return f"not checked while the GPU is in the mode {mode}: no second process may use it"
    return None
