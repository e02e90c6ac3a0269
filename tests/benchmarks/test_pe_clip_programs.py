"""The programs that are timed against each other compute the same."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from small_backbone import save_small_backbone

from benchmarks import pe_clip


@pytest.fixture(scope="module")
def small_backbone(tmp_path_factory: pytest.TempPathFactory) -> str:
    return save_small_backbone(tmp_path_factory.mktemp("small"))


def test_programs_agree_on_one_clip(small_backbone: str) -> None:
    frames = pe_clip.make_frames(1, pe_clip.image_size(small_backbone), torch.device("cpu"))
    able = pe_clip.programs(small_backbone, "fp32")
    with torch.no_grad():
        logits = {name: able[name]()[1](frames) for name in ("reference", "plain PyTorch", "ours")}
    assert logits["reference"].std() > 0.01
    differences = pe_clip.check(logits, "fp32")
    assert max(differences.values()) < 1e-4


def test_a_train_step_trains_the_same_parameters(small_backbone: str) -> None:
    frames = pe_clip.make_frames(1, pe_clip.image_size(small_backbone), torch.device("cpu"))
    able = pe_clip.programs(small_backbone, "fp32")
    losses = {}
    for name in ("reference", "ours"):
        model, program = able[name]()
        step = pe_clip.train_step(model, program, torch.tensor([2]))
        losses[name] = [step(frames).item() for _ in range(4)]
    assert losses["ours"] == pytest.approx(losses["reference"], abs=2e-3)
    assert losses["ours"][-1] < losses["ours"][0]


def test_other_logits_end_the_benchmark() -> None:
    with pytest.raises(SystemExit, match="ours gives other logits"):
        pe_clip.check({"reference": torch.zeros(1), "ours": torch.ones(1)}, "fp32")


@pytest.mark.slow
def test_the_command(small_backbone: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = ["--device", "cpu", "--backbone", small_backbone, "--clips", "2"]
    arguments += ["--seconds", "0.1", "--programs", "reference", "ours", "--output", str(tmp_path)]
    monkeypatch.setattr("sys.argv", ["pe_clip", *arguments])
    pe_clip.main()
    rows = json.loads((tmp_path / "pe_clip-cpu.json").read_text())["rows"]
    assert [(row["what"], row["program"]) for row in rows] == [
        (what, program)
        for what in ("inference", "train step", "peak memory")
        for program in ("reference", "ours")
    ]
    assert all(row["bytes"] > 0 for row in rows[-2:])  # of processes of their own
