"""How far from fp64 rounding may take a result, whatever the processor.

What eager PyTorch's error happens to be says little: for one number it can be zero, and it changes
with the order in which a processor's instructions sum. So eager PyTorch's program is followed in
fp64 many times, with an error drawn at random wherever the program rounds: Monte Carlo arithmetic
(Parker 1997). That tells what error to expect of each result and how much of it is luck. Errors go
through all that follows, the recurrence and the backward pass too.
monte_carlo.py says how what rounds.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from helpers.numerics.monte_carlo import Draws, Rounded
from scipy.stats import t as student
from torch import Tensor

Results = dict[str, Tensor]
# A right result is taken for a wrong one once in so many, if all of its error is luck.
ONCE_IN = 10**6


def follow(
    program: Callable[[Any], Results], operands: Any, count: int | None = None, seed: int = 0
) -> Results:
    """What comes of a program that is followed `count` times.

    `operands` is a dict or a list of tensors and None, what the program takes; the results are
    `Rounded`. A standard deviation that `count` draws tell is off by one part in sqrt(2 count), so
    few do where a tensor has many errors in each.
    """
    named = operands if isinstance(operands, dict) else dict(enumerate(operands))
    if count is None:
        largest = max(t.numel() for t in named.values() if t is not None)
        count = 32 if largest <= 2**12 else 16 if largest <= 2**16 else 8
    draws = Draws(count, seed)
    given = {name: None if t is None else _known(t, draws) for name, t in named.items()}
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # thousands of small steps: threads would wait for one another
    try:
        return program(given if isinstance(operands, dict) else list(given.values()))
    finally:
        torch.set_num_threads(threads)


def _known(t: Tensor, draws: Draws) -> Rounded:
    return Rounded(t.detach().double()[None], t.dtype, draws)


# What is compared: the largest error, all of them together, and whether they lean to one side, as
# cut off numbers do.
def _measures(errors: Tensor, truth: Tensor) -> dict[str, Tensor]:
    """Of errors (count, *shape)."""
    errors = errors.flatten(1)
    return {
        "largest": errors.abs().amax(1),
        "together": errors.square().sum(1).sqrt(),
        "leaning": (errors * truth.sign().flatten()).sum(1).abs(),
    }


@dataclass
class Measured:
    """An error and what it is measured by."""

    name: str
    measure: str
    error: float
    expected: float
    allowed: float


def measured(found: Results, exact: Results, program: Results) -> list[Measured]:
    """Errors of results: `exact` are in fp64, `program` what came of following eager PyTorch.

    Twice the root mean square of the draws is allowed, and for luck so many of their standard
    deviations that a single number is refused once in ONCE_IN. The draws are few, so that is a
    matter of Student's distribution. Less than a unit in the last place of the largest value is
    never asked for: where the program is exact, the order of a sum can still differ.
    """
    assert found.keys() == exact.keys() == program.keys()
    entries = []
    for name, result in found.items():
        draws = program[name]
        assert isinstance(draws, Rounded)
        assert result.dtype == draws.dtype, name
        assert result.shape == draws.shape == exact[name].shape, name
        if result.numel() == 0:
            continue
        truth = exact[name].double().cpu()
        ulp = torch.finfo(result.dtype).eps * truth.abs().max().item()
        ours = _measures(result.double().cpu()[None] - truth, truth)
        for measure, spread in _measures(draws.values.cpu() - truth, truth).items():
            expected = spread.square().mean().sqrt().item()
            deviation = spread.square().mean().sub(spread.mean().square()).clamp_min(0).sqrt()
            allowed = 2 * expected + luck(draws.draws.count) * deviation.item()
            entries.append(
                Measured(name, measure, ours[measure].item(), expected, max(allowed, ulp))
            )
    return entries


def luck(count: int) -> float:
    """Standard deviations of |z|, which are 0.60 of z's, from 2 to where z is once in ONCE_IN."""
    return float(student.isf(0.5 / ONCE_IN, count) - 2) / math.sqrt(1 - 2 / math.pi)


def no_worse_than_rounding(found: Results, exact: Results, program: Results) -> None:
    """No result is further from fp64 than rounding takes it, as `measured` says."""
    worse = [m for m in measured(found, exact, program) if not m.error <= m.allowed]
    assert not worse, "\n".join(map(str, worse))
