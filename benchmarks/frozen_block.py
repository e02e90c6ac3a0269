"""``python -m benchmarks.frozen_block``: what is frozen in a vision block, beside PyTorch's ways.

Its products, its attention and its MLP, with the gradient of x alone, on the CPU. Eager PyTorch,
torch.compile of it, and our backend do the same work on the same numbers, in turns.
"""

from __future__ import annotations

import argparse
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from benchmarks.measure.operators import DIRECTIONS, DTYPES, FRAMES, TOKENS, WIDTH, WRONG
from benchmarks.measure.record import RESULTS, interleaved, write
from peclip_fast import ops
from peclip_fast.errors import InputError

HEADS, HIDDEN = WIDTH // 64, 4 * WIDTH


class Case(NamedTuple):
    """An operator on x and frozen weights."""

    function: Callable[..., Tensor]
    """Of x, *weights and backend."""
    shapes: list[tuple[int, ...]]
    """Of a token of x, of the result, and of the weights."""


CASES = {
    "linear": Case(ops.linear, [(WIDTH,), (3 * WIDTH,), (3 * WIDTH, WIDTH), (3 * WIDTH,)]),
    "attention": Case(
        lambda x, backend: ops.attention(x, HEADS, backend=backend), [(3 * WIDTH,), (WIDTH,)]
    ),
    "feed_forward": Case(
        ops.feed_forward,
        [(WIDTH,), (WIDTH,), (HIDDEN, WIDTH), (HIDDEN,), (WIDTH, HIDDEN), (WIDTH,)],
    ),
}

Run = Callable[[], list[Tensor]]


def draw(case: Case, clips: int, dtype: torch.dtype) -> list[Tensor]:
    """x, dy and the weights, with values of about 1 in the products."""
    token, result, *weights = case.shapes
    rows = (clips * FRAMES, TOKENS)
    return [
        *(torch.randn(*rows, *shape).to(dtype) for shape in (token, result)),
        *((torch.randn(shape) * shape[-1] ** -0.5).to(dtype) for shape in weights),
    ]


def contenders(case: Case, operands: list[Tensor], direction: str) -> dict[str, Run]:
    """By name: what computes y, or y and the gradient of x."""
    torch.compiler.reset()
    x, dy, *weights = operands
    eager = functools.partial(case.function, backend="reference")

    def run(function: Callable[..., Tensor]) -> list[Tensor]:
        if direction == "forward":
            with torch.no_grad():
                return [function(x, *weights)]
        leaf = x.detach().requires_grad_()
        y = function(leaf, *weights)
        return [y.detach(), *torch.autograd.grad(y, leaf, dy)]

    functions = {
        "eager": eager,
        "torch.compile": torch.compile(eager, dynamic=False),
        "cpu": functools.partial(case.function, backend="cpu"),
    }
    return {name: functools.partial(run, function) for name, function in functions.items()}


def errors(runs: dict[str, Run], truth: list[Tensor]) -> dict[str, float | str]:
    """The largest error of each over eager's, or why it doesn't run here."""
    away: dict[str, list[float]] = {}
    found: dict[str, float | str] = {}
    for name, run in runs.items():
        try:
            results = run()
        except (InputError, RuntimeError) as error:
            found[name] = str(error).strip().splitlines()[0]
            continue
        exact = torch.finfo(results[0].dtype).eps / 2
        away[name] = [
            max(((result.double() - true).norm() / true.norm()).item(), exact)
            for result, true in zip(results, truth, strict=True)
        ]
        found[name] = max(a / b for a, b in zip(away[name], away["eager"], strict=True))
        if name == "cpu" and not found[name] <= WRONG:
            raise SystemExit(f"{name} is wrong: its error is {found[name]} times eager's")
    return found


def measure(name: str, clips: int, dtype: str, seconds: float) -> list[dict[str, Any]]:
    torch.manual_seed(0)
    case = CASES[name]
    operands = draw(case, clips, DTYPES[dtype])
    double = [t.double() for t in operands]
    rows: list[dict[str, Any]] = []
    for direction in DIRECTIONS:
        kind = {"operator": name, "clips": clips, "dtype": dtype, "direction": direction}
        truth = contenders(case, double, direction)["eager"]()
        runs = contenders(case, operands, direction)
        checked = errors(runs, truth)
        able = {n: run for n, run in runs.items() if not isinstance(checked[n], str)}
        times = interleaved(able, torch.device("cpu"), seconds)
        for contender, error in checked.items():
            row = {**kind, "contender": contender}
            if contender not in times:
                rows.append({**row, "not_run": error})
                continue
            time = times[contender]
            faster = {
                other: times[other]["median_ms"] / time["median_ms"]
                for other in times
                if other not in ("cpu", contender)
            }
            rows.append({**row, **time, "times_faster_than": faster, "error_over_eagers": error})
    return rows


def main() -> None:
    """Measure, print, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clips", type=int, default=2)
    parser.add_argument("--operators", nargs="+", default=list(CASES), choices=list(CASES))
    parser.add_argument("--dtypes", nargs="+", default=list(DTYPES), choices=list(DTYPES))
    parser.add_argument("--seconds", type=float, default=8.0, help="per operator and direction")
    parser.add_argument("--output", type=Path, default=RESULTS)
    options = parser.parse_args()
    rows = []
    for name in options.operators:
        for dtype in options.dtypes:
            for row in measure(name, options.clips, dtype, options.seconds):
                print(line(row), flush=True)
                rows.append(row)
    print(write("frozen_block", torch.device("cpu"), rows, options.output))


def line(row: dict[str, Any]) -> str:
    """A row of the table: time, error, and times faster than each."""
    text = f"{row['operator']:<13}{row['dtype']}  {row['direction']:<21}{row['contender']:<14}"
    if "not_run" in row:
        return text + row["not_run"]
    return f"{text}{row['median_ms']:>9.2f} ms  error {row['error_over_eagers']:.1f}" + "".join(
        f"  {ratio:.2f}x {other}" for other, ratio in row["times_faster_than"].items()
    )


if __name__ == "__main__":
    main()
