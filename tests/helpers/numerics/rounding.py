"""Whether a result is as close to fp64 as rounding lets it be, which rounded.py works out."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from helpers.numerics.rounded import EPS, FP32, RELATIVE, Draws, Results, Rounded, follow
from scipy.stats import t as student
from torch import Tensor

__all__ = ["EPS", "FP32", "RELATIVE", "Draws", "Results", "follow", "no_worse_than_rounding"]

# A right result is taken for a wrong one once in so many, if all of its error is luck.
ONCE_IN = 10**6


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
