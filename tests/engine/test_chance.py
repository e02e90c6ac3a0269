"""What a model draws in training: the same when a run goes on, and when blocks run again."""

from __future__ import annotations

import pytest
import torch
import yaml
from helpers.same_runs import assert_same

from peclip_fast.commands.train import main
from peclip_fast.engine.objective import Objective
from peclip_fast.engine.run_folder import RunFolder

METHODS = {
    "clip_lora": {"texts": "class_names", "lora_dropout": 0.5},
    "aim": {"hidden": 8, "most_frames": 2, "stochastic_depth": 0.5},
}


@pytest.fixture(params=METHODS)
def config(request, tmp_path, tiny_backbone, tiny_clips):
    options = {
        "model": {"method": request.param, "backbone": tiny_backbone, **METHODS[request.param]},
        "data": {"dataset": "folder", "root": str(tiny_clips), "frames": 2, "num_workers": 0},
        "train": {
            "epochs": 2, "warmup_epochs": 1, "batch_size": 3, "checkpoint_every": 1, "threads": 1,
            "device": "cpu", "test_every": 0,
        },
    }  # fmt: skip
    path = tmp_path / "c.yaml"
    path.write_text(yaml.safe_dump(options))
    return path


def train(config, folder, *options) -> RunFolder:
    assert main(["--config", str(config), "--output", str(folder), *options]) == 0
    return RunFolder(folder)


def test_a_run_that_goes_on_draws_the_same(config, tmp_path, monkeypatch):
    """Stopped in the middle of an epoch; before that blocks are kept, after it computed again."""
    whole = train(config, tmp_path / "whole")
    forward = Objective.forward

    def until_seventh(objective, batch, step):
        if step == 7:
            raise OSError("in the place of a kill")
        return forward(objective, batch, step)

    with monkeypatch.context() as patch:
        patch.setattr(Objective, "forward", until_seventh)
        assert main(["--config", str(config), "--output", str(tmp_path / "stopped")]) != 0
    torch.manual_seed(99)  # a new process has drawn other numbers before
    resumed = train(config, tmp_path / "stopped", "--resume", "--train.recompute", "3")
    assert_same(resumed, whole)


def test_each_batch_draws_anew(config, tmp_path, monkeypatch):
    """And another seed other numbers."""
    forward, drawn = Objective.forward, []

    def noted(objective, batch, step):
        loss = forward(objective, batch, step)
        drawn.append(torch.rand(()).item())
        return loss

    monkeypatch.setattr(Objective, "forward", noted)
    train(config, tmp_path / "a")
    train(config, tmp_path / "b", "--train.seed", "7")
    assert len(drawn) == len(set(drawn)) == 20
