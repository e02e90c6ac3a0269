"""What the operators' benchmarks share: contenders, errors against fp64, times, and the table.

Each operator's file names its sizes and what a user would otherwise write; to that come eager
PyTorch (the reference), torch.compile of it, and the backends that run here. All do the same work
on the same values, in turns, in one run.
"""

from __future__ import annotations

import argparse
import functools
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from benchmarks.measure.record import (
    RESULTS,
    captured,
    copy_bandwidth,
    interleaved,
    matrix_rate,
    write,
)
from peclip_fast.errors import InputError
from peclip_fast.ops.backends import BACKENDS

# ViT-B/16 at 224 px: 197 tokens of a frame beside two prompts; vision width; the paper's reductions
# of it by 16, 8 and 4.
TOKENS, FRAMES, WIDTH, HIDDEN = 199, 16, 768, (48, 96, 192)
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
DIRECTIONS = ("forward", "forward and backward")
WRONG = 10  # times eager's error, above which a backend isn't worth timing


class Contender(NamedTuple):
    """A way to compute the operator, on its own weights."""

    function: Callable[[Tensor, Tensor], Tensor]
    """From x and the residual."""
    weights: list[Tensor]


@dataclass(frozen=True)
class Operator:
    name: str
    shapes: Callable[[int, int], list[tuple[int, ...]]]
    """Of x, the residual and the weights, for a number of clips and h."""
    function: Callable[..., Tensor]
    """The operator on x, residual, *weights, and backend."""
    flops: Callable[[int, int], int]
    """Of the products of one forward pass, for a number of clips and h."""
    opponents: dict[str, Callable[[list[Tensor]], Contender]] = field(default_factory=dict)
    """What else a user would write, made with copies of the weights."""


def contenders(op: Operator, weights: list[Tensor]) -> dict[str, Contender]:
    """All by name: what a user would otherwise write, then the backends."""

    def run(backend: str) -> Callable[[Tensor, Tensor], Tensor]:
        return lambda x, residual: op.function(x, residual, *weights, backend=backend)

    torch.compiler.reset()
    eager = run("reference")
    return {
        "eager": Contender(eager, weights),
        **{name: make(weights) for name, make in op.opponents.items()},
        "torch.compile": Contender(torch.compile(eager, dynamic=False), weights),
        **{name: Contender(run(name), weights) for name in BACKENDS[2:]},
    }


def draw(op: Operator, clips: int, hidden: int, dtype: torch.dtype, device: torch.device) -> Any:
    """x, residual, dy, and the weights as leaves, with values of about 1 in the products."""
    shapes = op.shapes(clips, hidden)

    def values(shape: tuple[int, ...], spread: float) -> Tensor:
        return (torch.randn(shape, device=device) * spread).to(dtype)

    x, residual, dy = (values(shapes[0], 1.0) for _ in range(3))
    weights = [values(shape, shape[-1] ** -0.5).requires_grad_() for shape in shapes[2:]]
    return x.requires_grad_(), residual.requires_grad_(), dy, weights


def both_ways(contender: Contender, x: Tensor, residual: Tensor, dy: Tensor) -> list[Tensor]:
    y = contender.function(x, residual)
    return [y, *torch.autograd.grad(y, [x, residual, *contender.weights], dy)]


def one_way(contender: Contender, x: Tensor, residual: Tensor) -> Tensor:
    with torch.no_grad():
        return contender.function(x, residual)


def errors(
    op: Operator, hidden: int, dtype: torch.dtype, device: torch.device
) -> dict[str, dict[str, float] | str]:
    """Of each contender on one clip: its error over eager's, or why it doesn't run here.

    An error is the distance from fp64 in the 2-norm, over the norm; half an ulp counts as exact.
    """
    x, residual, dy, weights = draw(op, 1, hidden, dtype, device)
    double = [t.detach().double().requires_grad_() for t in (x, residual, *weights)]
    truth = both_ways(
        Contender(functools.partial(_reference, op, double[2:]), double[2:]), *double[:2],
        dy.double(),
    )  # fmt: skip
    found: dict[str, list[float]] = {}
    answer: dict[str, dict[str, float] | str] = {}
    for name, contender in contenders(op, weights).items():
        try:
            results = both_ways(contender, x, residual, dy)
        except (InputError, RuntimeError) as error:  # the compiler's errors are RuntimeErrors
            answer[name] = str(error).strip().splitlines()[0]
            continue
        found[name] = [
            ((result.double() - true).norm() / true.norm()).item()
            for result, true in zip(results, truth, strict=True)
        ]
        exact = torch.finfo(dtype).eps / 2
        forward, *gradients = (
            max(ours, exact) / max(theirs, exact)
            for ours, theirs in zip(found[name], found["eager"], strict=True)
        )
        answer[name] = {"forward": forward, "gradients": max(gradients)}
        if name in BACKENDS and not max(forward, *gradients) <= WRONG:
            raise SystemExit(f"{op.name} {dtype} h {hidden}: {name} is wrong: {answer[name]}")
    return answer


def _reference(op: Operator, weights: list[Tensor], x: Tensor, residual: Tensor) -> Tensor:
    return op.function(x, residual, *weights, backend="reference")


def floor(direction: str, x: Tensor, weights: list[Tensor]) -> int:
    """Bytes that must move: every operand read once and every result written once."""
    wide, thin = x.nbytes, sum(w.nbytes for w in weights)
    forward = 3 * wide + thin  # x and the residual in, y out
    return forward if direction == "forward" else forward + 3 * wide + 2 * thin  # x and dy, dx


def work(op: Operator, direction: str, clips: int, hidden: int) -> int:
    """FLOP of the products: backward has two for each of the forward pass."""
    return op.flops(clips, hidden) * (1 if direction == "forward" else 3)


def measure(
    op: Operator, clips: int, hidden: int, dtype: str, device: torch.device, seconds: float
) -> list[dict[str, Any]]:
    """A row per contender and direction."""
    torch.manual_seed(0)
    kind = {"clips": clips, "hidden": hidden, "dtype": dtype}
    checked = errors(op, hidden, DTYPES[dtype], device)
    rows: list[dict[str, Any]] = [
        {**kind, "contender": name, "not_run": why}
        for name, why in checked.items()
        if isinstance(why, str)
    ]
    x, residual, dy, weights = draw(op, clips, hidden, DTYPES[dtype], device)
    able = {n: c for n, c in contenders(op, weights).items() if not isinstance(checked[n], str)}
    opponents = [name for name in able if name not in BACKENDS]
    for direction in DIRECTIONS:
        runs = {
            name: captured(
                functools.partial(one_way, contender, x, residual)
                if direction == "forward"
                else functools.partial(both_ways, contender, x, residual, dy),
                device,
            )
            for name, contender in able.items()
        }
        times = interleaved(runs, device, seconds)
        moved = floor(direction, x, weights)
        for name, time in times.items():
            rows.append({
                **kind, "contender": name, "direction": direction, **time,
                "times_faster_than": {
                    other: times[other]["median_ms"] / time["median_ms"]
                    for other in opponents
                    if other != name
                },
                "flops": work(op, direction, clips, hidden),
                "floor_bytes": moved,
                "floor_bytes_per_s": 1e3 * moved / time["median_ms"],
                "error_over_eagers": checked[name],
            })  # fmt: skip
    return rows


def main(op: Operator) -> None:
    """Measure, print a table, write JSON."""
    parser = argparse.ArgumentParser(description=f"{op.name}: its backends and its opponents")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--clips", type=int, nargs="+", default=None)
    parser.add_argument("--hidden", type=int, nargs="+", default=HIDDEN)
    parser.add_argument("--seconds", type=float, default=5.0, help="per size and direction")
    parser.add_argument("--output", type=Path, default=RESULTS)
    options = parser.parse_args()
    device = torch.device(options.device)
    copied = copy_bandwidth(device)
    rates = {name: matrix_rate(device, dtype) for name, dtype in DTYPES.items()}
    print(
        f"{op.name} on {device}: copies {copied / 1e9:.0f} GB/s, multiplies "
        + ", ".join(f"{rate / 1e9:.0f} GFLOP/s in {name}" for name, rate in rates.items())
    )
    rows = []
    for clips in options.clips or ([8, 32] if device.type == "cuda" else [2]):
        for hidden in options.hidden:
            for dtype in DTYPES:
                found = measure(op, clips, hidden, dtype, device, options.seconds)
                for row in found:
                    if "floor_bytes_per_s" in row:
                        row["floor_over_copy"] = row["floor_bytes_per_s"] / copied
                    print(line(row), flush=True)
                rows += found
    facts = {"copy_bytes_per_s": copied, "matrix_flops_per_s": rates}
    print(write(op.name, device, rows, options.output, **facts))


def line(row: dict[str, Any]) -> str:
    """A row of the table: time, share of the copy's speed, error, and times faster than each."""
    text = f"{row['clips']:>3} clips  h {row['hidden']:<4}{row['dtype']}  {row['contender']:<14}"
    if "not_run" in row:
        return text + row["not_run"]
    error = row["error_over_eagers"]
    return (
        f"{text}{row['direction']:<21}{row['median_ms']:>9.3f} ms"
        f"  {row['floor_over_copy']:>4.0%} of copy"
        f"  error {error['forward']:.1f}, {error['gradients']:.1f}"
        + "".join(f"  {ratio:.2f}x {other}" for other, ratio in row["times_faster_than"].items())
    )
