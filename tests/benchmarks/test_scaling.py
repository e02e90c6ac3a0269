"""Exponents, counted operations, and the sweep on a small backbone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from helpers.models.small_backbone import save_small_backbone
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import scaling
from benchmarks.measure.flops import gflop
from peclip_fast import create_model


@pytest.mark.parametrize("power", [1.0, 2.0, 0.5])
def test_exponent_of_a_power(power: float) -> None:
    sizes = [4, 8, 16, 64]
    assert scaling.exponent(sizes, [3 * n**power for n in sizes]) == pytest.approx(power)


def test_one_size_has_no_exponent() -> None:
    assert scaling.exponent([4, 4], [1.0, 2.0]) is None


def test_exponents_leave_small_sizes_out() -> None:
    times = {1: 100.0, 2: 2.0, 4: 4.0, 8: 8.0}
    rows = [
        {"varied": "clips", "what": "inference", "program": "ours", "clips": n, "median_ms": ms}
        for n, ms in times.items()
    ]
    (found,) = scaling.exponents(rows, {"clips": 2})
    assert found["exponent"] == pytest.approx(1)
    assert found["sizes"] == [2, 4, 8]


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize(("frames", "clips"), [(3, 2), (8, 1)])
def test_operations_are_what_pytorch_counts(
    tiny_backbone: str, training: bool, frames: int, clips: int
) -> None:
    model = create_model(backbone=tiny_backbone, backend="reference", prompt_depth=2)
    pixels = torch.zeros(clips, frames, 3, 32, 32, dtype=torch.uint8)
    model.train(training)
    # Plain products, as fused attention computes some of its own twice.
    with sdpa_kernel(SDPBackend.MATH), torch.set_grad_enabled(training):
        model(pixels)  # keeps the texts' features in inference
        with FlopCounterMode(display=False) as counter:
            logits = model(pixels)
            if training:
                logits.sum().backward()
    # We count the gradient of the state before the first frame, which nobody needs.
    near = 1e-3 if training else 1e-9
    assert gflop(model, frames, clips, training) == pytest.approx(
        counter.get_total_flops() / 1e9, rel=near
    )


@pytest.mark.slow
def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    backbone = save_small_backbone(tmp_path)
    arguments = ["--device", "cpu", "--backbone", backbone, "--backbones", backbone]
    arguments += ["--what", "inference", "--frames", "1", "8", "1000000", "--clips", "1", "2"]
    arguments += ["--frames-of-clips", "1", "--from-frames", "1", "--from-clips", "1"]
    # Eight frames within ten minutes on any machine, a million on none.
    arguments += ["--most-seconds", "600", "--seconds", "0.1", "--output", str(tmp_path)]
    monkeypatch.setattr("sys.argv", ["scaling", *arguments])
    scaling.main()
    found = json.loads((tmp_path / "scaling-cpu.json").read_text())
    assert [(row["varied"], row["frames"], row["clips"]) for row in found["rows"][::2]] == [
        ("frames", 1, 1), ("frames", 8, 1), ("clips", 1, 1), ("clips", 1, 2), ("backbone", 1, 1),
    ]  # fmt: skip
    assert {row["program"] for row in found["rows"]} == {"reference", "ours"}
    assert all(row["median_ms"] > 0 and row["gflop"] > 0 for row in found["rows"])
    assert {entry["varied"] for entry in found["exponents"]} == {"frames", "clips"}
    assert [entry["frames"] for entry in found["left_out"]] == [1000000, 1000000]
