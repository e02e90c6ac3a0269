"""Times of the backends that are right, in turns, so that all of them see the same machine."""

from __future__ import annotations

import functools
import statistics
import time
from collections.abc import Callable, Mapping, Sequence

import torch

from peclip_fast import ops
from peclip_fast.ops.verdicts.operands import Form, both_ways, draw, forget
from peclip_fast.ops.verdicts.verdict import COMPILED, OperatorCall

Times = dict[str, dict[str, float]]
_LEAST, _MOST = 5, 101  # runs of each


def race(
    call: OperatorCall, backends: Sequence[str], device: torch.device, seconds: float,
    event: Callable[[str], None], told: Callable[[str], None] = lambda name: None,
) -> Times:  # fmt: skip
    """Median times in ms by backend: ``forward``, and ``both`` ways if a gradient is asked for.

    Args:
        backends: right ones; COMPILED is the reference by torch.compile, and is left out where
            that fails.
        seconds: for each direction.
        event: is told what comes next.
        told: is told whose turn it is, before it may crash.
    """
    operands = draw(call, Form(call.kind(device.type).dtype), device, 1)
    times: Times = {name: {} for name in backends}
    directions = ("forward", "both") if call.trained else ("forward",)
    for direction in directions:
        runs = {}
        for name in backends:
            told(name)
            event(f"{name}: {direction} for the first time")
            run = _run(call, name, operands, direction == "both")
            try:
                run()
            except Exception:
                if name != COMPILED:
                    raise
                times.pop(name, None)  # no compiler here, or one that fails
                continue
            runs[name] = run
        for name, median in _medians(runs, device, seconds, told).items():
            times[name][direction] = median
    forget()
    return {name: found for name, found in times.items() if len(found) == len(directions)}


def _run(
    call: OperatorCall, name: str, operands: dict[str, torch.Tensor], backward: bool
) -> Callable[[], object]:
    function = None
    if name == COMPILED:
        function, name = torch.compile(getattr(ops, call.op), dynamic=False), "reference"
    return functools.partial(
        both_ways, call, name, operands, backward=backward, function=function
    )  # fmt: skip


def _medians(
    runs: Mapping[str, Callable[[], object]], device: torch.device, seconds: float,
    told: Callable[[str], None],
) -> dict[str, float]:  # fmt: skip
    once = _on_gpu if device.type == "cuda" else _on_cpu
    times: dict[str, list[float]] = {name: [] for name in runs}
    end = time.perf_counter() + seconds
    for number in range(_MOST):
        if number >= _LEAST and time.perf_counter() > end:
            break
        for name, run in runs.items():
            told(name)
            times[name].append(once(run))
    return {name: statistics.median(found) for name, found in times.items()}


def _on_cpu(run: Callable[[], object]) -> float:
    start = time.perf_counter()
    run()
    return 1e3 * (time.perf_counter() - start)


def _on_gpu(run: Callable[[], object], times: int = 5) -> float:
    """Several in a row, as in a step: what Python needs to launch them counts where it is more."""
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    start.record()
    for _ in range(times):
        run()
    end.record()
    end.synchronize()
    return start.elapsed_time(end) / times
