"""The learning rate's path."""

from __future__ import annotations

import math

import pytest
import torch

from peclip_fast import InputError
from peclip_fast.config.train import TrainConfig
from peclip_fast.engine.optimizer import factor_at, set_rates, warmup_cosine


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


def test_steps_fall_to_a_tenth_after_their_epochs():
    """DFER-CLIP's: no warm-up, after 30 and 40 of 50 epochs."""
    train = TrainConfig(epochs=50, warmup_epochs=0, schedule="steps", milestones=[30, 40])
    factors = [factor_at(step, 7, train) for step in range(350)]
    assert factors == pytest.approx([1.0] * 210 + [0.1] * 70 + [0.01] * 70)


def test_steps_after_a_warmup():
    train = TrainConfig(epochs=4, warmup_epochs=1, schedule="steps", milestones=[3])
    factors = [factor_at(step, 2, train) for step in range(8)]
    assert factors == pytest.approx([0.5, 1, 1, 1, 1, 1, 0.1, 0.1])


def test_a_warmup_of_part_of_an_epoch():
    """AIM's of 2.5 epochs."""
    train = TrainConfig(epochs=30, warmup_epochs=2.5)
    assert factor_at(9, 4, train) == 1.0
    assert factor_at(4, 4, train) == 0.5
    whole = TrainConfig(epochs=30, warmup_epochs=2.0)
    assert repr(whole.warmup_epochs) == "2"  # so that equal runs have equal files


@pytest.mark.parametrize(("factor", "rates"), [(1.0, (1e-2, 1e-7)), (0.0, (1e-6, 1e-7))])
def test_rates_end_where_they_are_told_to(factor, rates):
    """A group that never is that fast stays as it is."""
    tensors = [torch.nn.Parameter(torch.zeros(1)) for _ in range(2)]
    optimizer = torch.optim.SGD(
        [{"params": [t], "name": name} for t, name in zip(tensors, "ab", strict=True)], lr=1.0
    )
    set_rates(optimizer, {"a": 1e-2, "b": 1e-7}, factor, 1e-6)
    assert tuple(g["lr"] for g in optimizer.param_groups) == pytest.approx(rates, rel=1e-12)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"schedule": "steps"}, "milestones=.*: expected epochs after which the rates fall"),
        ({"milestones": [2]}, "expected none, as train.schedule=cosine"),
        ({"schedule": "steps", "milestones": [30]}, "in order, from 1 on and less than the 30"),
        ({"schedule": "steps", "milestones": [0, 3]}, "in order, from 1 on"),
        ({"schedule": "steps", "milestones": [5, 3]}, "in order, from 1 on"),
        ({"schedule": "steps", "milestones": [3, 3]}, "in order, from 1 on"),
        ({"schedule": "steps", "milestones": [3], "lr_end": 1e-6}, "lr_end=1e-06: expected 0"),
        ({"lr_end": -1e-6}, "lr_end=-1e-06: expected at least 0"),
        ({"warmup_epochs": 30.0}, "expected less than the 30 epochs"),
    ],
)
def test_what_is_no_schedule(options, message):
    with pytest.raises(InputError, match=message):
        TrainConfig(**options)
