"""How sure a mean over runs is, and whether one run is better than another on the same clips."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from peclip_fast.errors import InputError

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Estimate:
    """A mean over runs that differ only in seed or fold.

    Args:
        mean: of the values.
        deviation: their standard deviation (n - 1), 0 of one value.
        margin: half of the width of the mean's confidence interval by Student's t; None of one
            value, which tells nothing of how far others are.
        number: of values.
    """

    mean: float
    deviation: float
    margin: float | None
    number: int

    @property
    def low(self) -> float:
        """Lower end of the interval, minus infinity without one."""
        return -math.inf if self.margin is None else self.mean - self.margin

    @property
    def high(self) -> float:
        """Upper end of the interval, infinity without one."""
        return math.inf if self.margin is None else self.mean + self.margin


def estimate(values: Sequence[float], confidence: float = CONFIDENCE) -> Estimate:
    """Mean, standard deviation and confidence interval of at least one value."""
    if not values:
        raise ValueError("no values to take the mean of")
    mean, number = float(np.mean(values)), len(values)
    if number == 1:
        return Estimate(mean, 0.0, None, 1)
    deviation = float(np.std(values, ddof=1))
    quantile = float(stats.t.ppf((1 + confidence) / 2, number - 1))
    return Estimate(mean, deviation, quantile * deviation / math.sqrt(number), number)


@dataclass(frozen=True)
class Comparison:
    """Two models on the same clips; differences are the second's less the first's, in [-1, 1].

    Args:
        clips: how many.
        only_first: clips that only the first gets right.
        only_second: clips that only the second gets right.
        war: difference of the accuracies.
        p_value: of McNemar's exact test: how likely so uneven a split of the clips on which they
            disagree is, or a more uneven one, if both were as good.
        uar: difference of the mean recalls over the classes that have clips.
        uar_low: lower end of the confidence interval of ``uar``, by the bootstrap.
        uar_high: upper end.
    """

    clips: int
    only_first: int
    only_second: int
    war: float
    p_value: float
    uar: float
    uar_low: float
    uar_high: float


def compare(
    labels: Sequence[str], first: Sequence[str], second: Sequence[str], *,
    confidence: float = CONFIDENCE, draws: int = 10_000, seed: int = 0,
) -> Comparison:  # fmt: skip
    """Whether the predictions of two models for the same clips differ by more than luck.

    The bootstrap draws the clips of each class anew, with both models' results for them, so that
    every draw has as many clips of each class as the test split.

    Args:
        labels: true class of each clip.
        first: the first model's predictions.
        second: the second model's.
        confidence: of the interval of the difference in UAR.
        draws: of the bootstrap.
        seed: of its random numbers.

    Raises:
        InputError: there are no clips, or not as many predictions as clips.
    """
    if not labels or not len(labels) == len(first) == len(second):
        raise InputError(
            f"{len(first)} and {len(second)} predictions for {len(labels)} clips: expected as many "
            "of each, at least one"
        )
    truth, a, b = (np.asarray(names) for names in (labels, first, second))
    right = np.stack([a == truth, b == truth]).astype(np.int8)
    gain: NDArray[np.int8] = right[1] - right[0]  # 1, 0 or -1 for each clip
    only_first, only_second = int((gain < 0).sum()), int((gain > 0).sum())
    apart = only_first + only_second
    p_value = float(stats.binomtest(only_second, apart).pvalue) if apart else 1.0
    generator = np.random.default_rng(seed)
    differences, drawn = [], np.zeros(draws)
    classes = np.unique(truth)
    for name in classes:
        gains = gain[truth == name]
        differences.append(gains.mean())
        # The mean of n draws depends on how many of each of the three kinds there are.
        shares = [(gains == kind).mean() for kind in (-1, 0, 1)]
        counts = generator.multinomial(len(gains), shares, size=draws)
        drawn += (counts[:, 2] - counts[:, 0]) / len(gains) / len(classes)
    tail = (1 - confidence) / 2
    low, high = np.quantile(drawn, [tail, 1 - tail])
    return Comparison(
        clips=len(truth),
        only_first=only_first,
        only_second=only_second,
        war=float(gain.mean()),
        p_value=p_value,
        uar=float(np.mean(differences)),
        uar_low=float(low),
        uar_high=float(high),
    )
