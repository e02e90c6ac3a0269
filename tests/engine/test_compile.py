"""train.compile: what is compiled, when that pays, and that runs go on with the same bits."""

from __future__ import annotations

import functools
import itertools
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.stand_in_compiler import Compiler, stand_in_compiler
from helpers.tiny_runs import no_pictures, write_config
from torch import Tensor

from peclip_fast.commands import train
from peclip_fast.engine import graphs
from peclip_fast.engine.graphs import CompiledModel
from peclip_fast.engine.objective import Objective
from peclip_fast.errors import InputError


@pytest.fixture
def compiler(monkeypatch: pytest.MonkeyPatch) -> Compiler:
    return stand_in_compiler(monkeypatch)


def settled(
    choice: graphs.Choice, steps: int, function: Callable[..., Tensor]
) -> tuple[CompiledModel, list[str]]:
    model, told = CompiledModel(function), list[str]()
    model.settle(choice, functools.partial(model, x=torch.ones(4, 3)), steps, told.append)
    return model, told


def double(x: Tensor) -> Tensor:
    return 2 * x


def test_a_smaller_batch_runs_as_it_is(compiler: Compiler) -> None:
    model, told = settled(True, 1, double)
    assert model.on
    assert told[0].startswith("train.compile=true: compiled in ")
    assert torch.equal(model(x=torch.ones(3, 3)), torch.full((3, 3), 2.0))
    assert torch.equal(model(x=torch.ones(4, 3)), torch.full((4, 3), 2.0))
    assert compiler.times == 1


@pytest.mark.parametrize(
    ("seconds", "steps", "on", "said"),
    [
        ([1, 1.0], 10, False, "not compiled, as that could save at most 3 s"),
        ([1, 1.0, 9, 0.8], 1000, True, "compiled in 9 s, 0.8 s a step instead of 1 s"),
        ([1, 1.0, 9, 1.1], 1000, False, "compiled in 9 s, 1.1 s a step instead of 1 s: left off"),
    ],
    ids=["few steps", "faster", "slower"],
)
def test_auto(
    seconds: list[float], steps: int, on: bool, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(graphs, "_seconds", lambda step: seconds.pop(0))
    model, told = settled("auto", steps, double)
    assert (model.on, told, seconds) == (on, [f"train.compile=auto: {said}"], [])


def test_what_cannot_be_compiled(compiler: Compiler, monkeypatch: pytest.MonkeyPatch) -> None:
    def breaks(x: Tensor) -> Tensor:
        torch._dynamo.graph_break()
        return x

    with pytest.raises(InputError, match=r"compile=true: can.t compile the model"):
        settled(True, 1, breaks)
    monkeypatch.setattr(graphs, "LEAST_SECONDS", 0.0)
    model, told = settled("auto", 10**6, breaks)
    assert not model.on
    assert "not compiled, as that fails: " in told[0]


def test_a_run_goes_on_with_the_same_bits(
    tiny_backbone: str, tiny_clips: Path, tmp_path: Path, compiler: Compiler,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """Its last batches are smaller; the model is compiled once for training, once for testing."""

    def run(name: str, *argv: str) -> dict[str, bytes]:
        path = tmp_path / name
        config = write_config(tmp_path / "c.yaml", tiny_backbone, tiny_clips, batch_size=4)
        given = ["--config", str(config), "--output", str(path), "--train.compile", "true", *argv]
        with no_pictures():
            assert train.main(given) == 0
        return {"model": (path / "model" / "model.safetensors").read_bytes()}

    forward, steps = Objective.forward, itertools.count(1)

    def copying(self: Objective, *given: Any) -> Tensor:
        if next(steps) == 4:  # what a kill would leave
            shutil.copytree(tmp_path / "whole", tmp_path / "stopped")
        return forward(self, *given)

    monkeypatch.setattr(Objective, "forward", copying)
    whole = run("whole")
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 2
    assert run("stopped", "--resume") == whole
