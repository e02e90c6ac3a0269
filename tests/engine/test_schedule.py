"""The learning rate's path."""

from __future__ import annotations

import math

import pytest

from peclip_fast.engine.optimizer import warmup_cosine


def test_values():
    factors = [warmup_cosine(step, 4, 12) for step in range(13)]
    assert factors[:4] == [0.25, 0.5, 0.75, 1.0]
    assert factors[4] == 1.0
    assert factors[6] == pytest.approx((1 + math.sqrt(0.5)) / 2)
    assert factors[8] == pytest.approx(0.5)
    assert factors[12] == 0.0
    assert factors[4:] == sorted(factors[4:], reverse=True)


def test_no_warmup():
    assert warmup_cosine(0, 0, 10) == 1.0
