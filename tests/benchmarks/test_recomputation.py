"""Memory against time of activations that are computed again: checked, measured, written."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import pytest
import torch
from helpers.models.small_backbone import save_small_backbone

from benchmarks import pe_clip, recomputation
from benchmarks.report.results_files import Record, Results
from benchmarks.report.tables import block


def test_other_gradients_end_the_benchmark() -> None:
    ones = [torch.ones(4)]
    recomputation.check(ones, ones, 0.0)
    with pytest.raises(SystemExit, match=r"other gradients, by 0\.5 of their norm"):
        recomputation.check(ones, [torch.full((4,), 1.5)], 0.4)
    with pytest.raises(SystemExit, match="other gradients"):
        recomputation.check(ones, [torch.full((4,), torch.nan)], 1.0)


@pytest.mark.slow
def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    backbone = save_small_backbone(tmp_path)
    arguments = ["--device", "cpu", "--backbones", backbone, "--blocks", "0", "9"]
    arguments += ["--clips", "1", "--seconds", "0", "--output", str(tmp_path)]
    monkeypatch.setattr("sys.argv", ["recomputation", *arguments])

    def peak_memory_alone(maker, *sent):
        """What is sent to a process, which test_pe_clip_programs starts, makes this model."""
        maker, *_ = pickle.loads(pickle.dumps((maker, *sent)))
        return 500.0 - 10 * maker()[0]._recomputed

    monkeypatch.setattr(pe_clip, "peak_memory_alone", peak_memory_alone)
    recomputation.main()
    file = tmp_path / "recomputation-cpu.json"
    found = json.loads(file.read_text(), object_hook=lambda o: Record(str(file), o))
    kept, again = found["rows"]
    assert (kept["blocks"], again["blocks"]) == (0, 9)
    assert kept["memory_share"] == kept["time_share"] == 1
    assert again["memory_share"] == pytest.approx(again["bytes"] / kept["bytes"])
    assert again["bytes"] > 0
    table = block("recomputation-cpu", Results("recomputation-cpu", found), "link")
    assert [line.split(" | ")[0] for line in table[2:4]] == ["| 0", "| 9"]
