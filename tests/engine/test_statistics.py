"""Intervals and tests against their definitions, and against what is known of them."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from peclip_fast.engine.statistics import compare, estimate
from peclip_fast.errors import InputError


def test_estimate_by_hand() -> None:
    """Student's t for 3 values and 95 % is 4.3027."""
    found = estimate([1.0, 2.0, 6.0])
    assert found.mean == pytest.approx(3.0)
    assert found.deviation == pytest.approx(math.sqrt(7))
    assert found.margin == pytest.approx(4.302653 * math.sqrt(7 / 3), rel=1e-6)
    assert (found.low, found.high) == (found.mean - found.margin, found.mean + found.margin)


values = st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=30)


@given(values, st.floats(-1e6, 1e6), st.floats(1e-3, 1e3), st.randoms())
def test_estimates_go_with_their_unit(values, offset, unit, random) -> None:
    """The order of runs doesn't matter, and percent give a hundred times what shares do."""
    found = estimate(values)
    assert min(values) - 1e-6 <= found.mean <= max(values) + 1e-6
    assert found.low <= found.mean <= found.high
    moved = [unit * value + offset for value in values]
    random.shuffle(moved)
    other = estimate(moved)
    near = 1e-9 * max(abs(offset), unit * max(map(abs, values)), 1)
    assert other.mean == pytest.approx(unit * found.mean + offset, rel=1e-9, abs=near)
    assert other.deviation == pytest.approx(unit * found.deviation, rel=1e-6, abs=1e3 * near)
    assert other.margin == pytest.approx(unit * found.margin, rel=1e-6, abs=1e4 * near)


@given(st.lists(st.tuples(*[st.sampled_from("abc")] * 3), min_size=1, max_size=60), st.randoms())
def test_comparisons_are_of_clips_in_any_order_and_turn_round(clips, random) -> None:
    found = compare(*zip(*clips, strict=True), draws=50)
    turned = compare(*zip(*((t, b, a) for t, a, b in clips), strict=True), draws=50)
    assert (turned.only_first, turned.only_second) == (found.only_second, found.only_first)
    assert turned.war == pytest.approx(-found.war)
    assert turned.uar == pytest.approx(-found.uar)
    assert turned.p_value == pytest.approx(found.p_value)
    assert 0 < found.p_value <= 1 + 1e-9
    assert -1 <= found.uar_low <= found.uar_high <= 1
    assert found.war * found.clips == pytest.approx(found.only_second - found.only_first)
    random.shuffle(clips)
    again = compare(*zip(*clips, strict=True), draws=50)
    assert again == found


def test_one_value_has_no_interval() -> None:
    found = estimate([0.7])
    assert (found.mean, found.deviation, found.margin) == (0.7, 0.0, None)
    assert (found.low, found.high) == (-math.inf, math.inf)
    with pytest.raises(ValueError, match="no values"):
        estimate([])


def test_intervals_hold_the_truth_as_often_as_they_say() -> None:
    generator = np.random.default_rng(3)
    held = 0
    for _ in range(2000):
        found = estimate(list(generator.normal(5.0, 2.0, size=4)), confidence=0.9)
        held += found.low <= 5.0 <= found.high
    assert 0.88 < held / 2000 < 0.92


def test_compare_by_hand() -> None:
    labels = ["a"] * 8 + ["b"] * 2
    first = ["a"] * 3 + ["b"] * 5 + ["b", "a"]
    second = ["a"] * 7 + ["b"] + ["a", "a"]
    found = compare(labels, first, second)
    assert (found.clips, found.only_first, found.only_second) == (10, 1, 4)
    assert found.war == pytest.approx(0.3)
    assert found.uar == pytest.approx((4 / 8 - 1 / 2) / 2)
    # Of 5 clips as uneven as 4 to 1 or more, on both sides: 12 of 32.
    assert found.p_value == pytest.approx(12 / 32)
    assert found.uar_low < found.uar < found.uar_high


def test_the_same_predictions() -> None:
    found = compare(["a", "b"], ["a", "a"], ["a", "a"])
    assert (found.war, found.uar, found.uar_low, found.uar_high) == (0, 0, 0, 0)
    assert found.p_value == 1.0


def test_the_bootstrap_is_one_over_clips() -> None:
    """As if clips of each class were drawn one by one."""
    generator = np.random.default_rng(1)
    labels = np.repeat(["a", "b", "c"], [60, 30, 10])
    first = np.where(generator.random(100) < 0.6, labels, "x")
    second = np.where(generator.random(100) < 0.8, labels, "x")
    found = compare(list(labels), list(first), list(second))
    drawn = []
    for _ in range(4000):
        gains = []
        for name in "abc":
            clips = generator.choice(np.flatnonzero(labels == name), (labels == name).sum())
            gains.append((second[clips] == name).mean() - (first[clips] == name).mean())
        drawn.append(np.mean(gains))
    low, high = np.quantile(drawn, [0.025, 0.975])
    assert found.uar_low == pytest.approx(low, abs=0.02)
    assert found.uar_high == pytest.approx(high, abs=0.02)
    swapped = compare(list(labels), list(second), list(first))
    assert swapped.uar == pytest.approx(-found.uar)
    assert swapped.p_value == pytest.approx(found.p_value)


def test_refusals() -> None:
    with pytest.raises(InputError, match="0 and 0 predictions for 0 clips"):
        compare([], [], [])
    with pytest.raises(InputError, match="1 and 2 predictions for 2 clips"):
        compare(["a", "b"], ["a"], ["a", "b"])
