"""``pytest benchmarks``: the operators' times, for the one who is changing a kernel.

    pytest benchmarks --benchmark-autosave                      # before the change
    pytest benchmarks --benchmark-compare --benchmark-compare-fail=median:10%   # after it
    pytest benchmarks -k "temporal and h96 and bf16" --benchmark-json=times.json

Each table that is printed compares the contenders at one operator, h, dtype and direction. They are
timed one after the other, so a machine that slows down meanwhile counts against the later ones.
Ratios that are claimed anywhere come from the interleaved runs of ``benchmarks.bottleneck_adapter``
and ``benchmarks.temporal_adapter``; this suite tells only whether something got slower here.

Results are checked against fp64 before they are timed. A contender that can't run here is skipped
with its reason. The main ``pytest`` run doesn't collect this file.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture

from benchmarks import bottleneck_adapter, temporal_adapter
from benchmarks.measure.operators import (
    DIRECTIONS,
    DTYPES,
    HIDDEN,
    Contender,
    Operator,
    both_ways,
    contenders,
    draw,
    errors,
    one_way,
)
from benchmarks.measure.record import captured
from peclip_fast import ops
from peclip_fast.ops.backends import BACKENDS

OPERATORS = {
    "bottleneck": Operator(
        "bottleneck_adapter",
        bottleneck_adapter.shapes,
        bottleneck_adapter.function,
        bottleneck_adapter.flops,
    ),
    "temporal": Operator(
        "temporal_adapter",
        temporal_adapter.shapes,
        ops.temporal_adapter,
        temporal_adapter.flops,
        {"nn.GRU": temporal_adapter.with_gru},
    ),
}
CASES = [(name, hidden, dtype) for name in OPERATORS for hidden in HIDDEN for dtype in DTYPES]
NAMES = ("eager", "nn.GRU", "torch.compile", *BACKENDS[2:])
GPU = torch.cuda.is_available()
CLIPS = 8 if GPU else 1


class Case(NamedTuple):
    """An operator at a size: its contenders, why some don't run, and what they work on."""

    label: str
    device: torch.device
    contenders: dict[str, Contender]
    checked: dict[str, dict[str, float] | str]
    values: tuple[Any, ...]


@pytest.fixture(
    scope="module", params=CASES, ids=[f"{name}-h{hidden}-{dtype}" for name, hidden, dtype in CASES]
)
def case(request: pytest.FixtureRequest) -> Case:
    """Once for all contenders and directions, as the check against fp64 takes longest."""
    name, hidden, dtype = request.param
    op, device = OPERATORS[name], torch.device("cuda" if GPU else "cpu")
    torch.manual_seed(0)
    checked = errors(op, hidden, DTYPES[dtype], device)
    x, residual, dy, weights = draw(op, CLIPS, hidden, DTYPES[dtype], device)
    label = f"{op.name} h {hidden} {dtype}"
    return Case(label, device, contenders(op, weights), checked, (x, residual, dy))


@pytest.mark.benchmark(min_rounds=10)
@pytest.mark.parametrize("contender", NAMES)
@pytest.mark.parametrize("direction", DIRECTIONS)
def test_operator(benchmark: BenchmarkFixture, case: Case, direction: str, contender: str) -> None:
    if contender not in case.checked:
        pytest.skip(f"{contender} is no contender here")
    if isinstance(reason := case.checked[contender], str):
        pytest.skip(reason)
    benchmark.group = f"{case.label}, {CLIPS} clips, {direction}"
    benchmark.name = contender
    x, residual, dy = case.values
    given = case.contenders[contender]
    run: Callable[[], object] = (
        functools.partial(one_way, given, x, residual)
        if direction == "forward"
        else functools.partial(both_ways, given, x, residual, dy)
    )
    benchmark(finished(captured(run, case.device), case.device))


def finished(run: Callable[[], object], device: torch.device) -> Callable[[], object]:
    """Warmed up; on a GPU each run is waited for."""
    run()
    if device.type != "cuda":
        return run

    def wait() -> None:
        run()
        torch.cuda.synchronize(device)

    return wait
