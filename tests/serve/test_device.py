"""The queue of the device: batches over clients, clips first, nobody left out."""

from __future__ import annotations

import threading

import pytest
import torch

from peclip_fast.serve.device import DeviceQueue


class Slow:
    """A model that waits for leave, and whose answers are its inputs."""

    def __init__(self) -> None:
        self.leave = threading.Event()
        self.batches: list[list[int]] = []

    def probabilities(self, clips):
        assert self.leave.wait(30)
        numbers = [int(given["frames"]) for given in clips]
        self.batches.append(numbers)
        if -1 in numbers:
            raise ValueError("a broken clip")
        return [(float(number),) for number in numbers]


def given(number: int) -> dict[str, torch.Tensor]:
    return {"frames": torch.tensor(number)}


@pytest.fixture
def model():
    return Slow()


@pytest.fixture
def device(model):
    queue = DeviceQueue(model, 4)
    yield queue
    model.leave.set()
    queue.close()


def held(device: DeviceQueue, model: Slow) -> object:
    """Have the device busy with one clip, so that what is asked for now waits."""
    first = device.clip(given(0))
    while device.waiting:
        threading.Event().wait(0.001)
    return first


def test_what_waits_is_one_batch(device, model):
    held(device, model)
    asked = [device.clip(given(number)) for number in range(1, 8)]
    model.leave.set()
    assert [future.result(30) for future in asked] == [(float(n),) for n in range(1, 8)]
    assert model.batches == [[0], [1, 2, 3, 4], [5, 6, 7]]


def test_windows_have_a_place_in_each_batch(device, model):
    held(device, model)
    windows = [device.window(given(100 + number)) for number in range(5)]
    clips = [device.clip(given(number)) for number in range(1, 6)]
    model.leave.set()
    for future in (*windows, *clips):
        future.result(30)
    assert model.batches == [[0], [1, 2, 3, 100], [4, 5, 101, 102], [103, 104]]


def test_a_batch_of_one_still_takes_both(model):
    queue = DeviceQueue(model, 1)
    held(queue, model)
    asked = [queue.window(given(7)), queue.clip(given(1)), queue.clip(given(2))]
    model.leave.set()
    assert [future.result(30) for future in asked] == [(7.0,), (1.0,), (2.0,)]
    queue.close()


def test_a_failure_is_told_and_the_next_batch_goes_on(device, model):
    model.leave.set()
    with pytest.raises(ValueError, match="a broken clip"):
        device.clip(given(-1)).result(30)
    assert device.clip(given(3)).result(30) == (3.0,)
    with pytest.raises(KeyError):
        device.call(lambda: {}["nothing"]).result(30)
    assert device.call(lambda: 5).result(30) == 5


def test_nobody_waits_for_what_was_given_up(device, model):
    held(device, model)
    given_up, other = device.clip(given(1)), device.clip(given(2))
    assert given_up.cancel()
    model.leave.set()
    assert other.result(30) == (2.0,)
    assert model.batches == [[0], [2]]


def test_closing_finishes_what_waits(model):
    queue = DeviceQueue(model, 4)
    held(queue, model)
    last = queue.window(given(9))
    model.leave.set()
    queue.close()
    assert last.result(0) == (9.0,)
    with pytest.raises(RuntimeError, match="closed"):
        queue.clip(given(1))
