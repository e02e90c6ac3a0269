"""What the curves are compared by, and a run on tiny clips."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from helpers.tiny_runs import write_config

from benchmarks import loss_curves


def test_curves_are_running_means() -> None:
    curve = loss_curves.smoothed([4.0, 2.0, 0.0, 2.0], 2)
    assert curve.tolist() == [3.0, 1.0, 1.0]
    assert loss_curves.smoothed([4.0, 2.0], 5).tolist() == [3.0]


def test_the_last_quarter_is_compared() -> None:
    baseline = torch.tensor([[9.0, 9.0, 9.0, 1.0], [0.0, 0.0, 0.0, 3.0]])
    near, far = baseline.clone(), baseline.clone()
    near[:, 3] += 1.0
    far[:, 3] += 2.0
    found = loss_curves.compare(baseline, near)
    assert found["difference_of_means"] == pytest.approx(1.0)
    assert found["seed_spread"] == pytest.approx(2**0.5)
    assert found["overlap"] is True
    assert loss_curves.compare(baseline, far)["overlap"] is False


def test_one_seed_has_no_spread() -> None:
    curve = torch.ones(1, 8)
    assert loss_curves.compare(curve, curve)["seed_spread"] == 0
    assert loss_curves.compare(curve, curve + 0.1)["overlap"] is False


@pytest.mark.slow
def test_the_command(
    tiny_backbone: str, tiny_clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = write_config(tmp_path / "c.yaml", tiny_backbone, tiny_clips)
    arguments = ["--device", "cpu", "--config", str(config), "--seeds", "1", "2", "--every", "2"]
    monkeypatch.setattr("sys.argv", ["loss_curves", *arguments, "--output", str(tmp_path)])
    threads = torch.get_num_threads()
    loss_curves.main()
    torch.set_num_threads(threads)
    found = json.loads((tmp_path / "loss_curves-cpu.json").read_text())
    # Two epochs of five steps: running means of five, at the steps 5 to 10.
    assert found["window"] == 5
    steps = [row["step"] for row in found["rows"][:4]]
    assert steps == [5, 7, 9, 10]
    assert [(end["program"], end["seed"]) for end in found["ends"]] == [
        (program, seed) for seed in (1, 2) for program in ("plain PyTorch", "ours")
    ]
    assert all(0 <= end["uar"] <= 1 and end["steps"] == 10 for end in found["ends"])
    # In so few steps rounding has hardly any say.
    assert found["difference_of_means"] < 1e-2 < found["seed_spread"]
    assert found["overlap"] is True
