"""The programs that are timed against each other compute the same."""

from __future__ import annotations

from pathlib import Path

import open_clip
import pytest
import torch

from benchmarks import pe_clip
from peclip_fast.models.backbone import save_backbone

# Deep enough for the paper's prompts; heads are 64 wide, as in all CLIPs of the published program.
SMALL = {
    "embed_dim": 32,
    "quick_gelu": True,
    "vision_cfg": {
        "image_size": 32, "patch_size": 16, "width": 128, "layers": 9, "head_width": 64
    },
    "text_cfg": {"width": 64, "heads": 1, "layers": 9},
}  # fmt: skip


@pytest.fixture(scope="module")
def small_backbone(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("small")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        save_backbone(open_clip.CLIP(**SMALL), SMALL, folder)
    return str(folder)


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
    arguments = [
        "--device",
        "cpu",
        "--backbone",
        small_backbone,
        "--clips",
        "2",
        "--seconds",
        "0.1",
    ]
    arguments += ["--programs", "reference", "ours", "--output", str(tmp_path)]
    monkeypatch.setattr("sys.argv", ["pe_clip", *arguments])
    pe_clip.main()
    assert (tmp_path / "pe_clip-cpu.json").is_file()
