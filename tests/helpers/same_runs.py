"""Whether two runs came to the same, bit for bit."""

from __future__ import annotations

import csv

import torch
from safetensors.torch import load_file

from peclip_fast.engine.checkpoint import read_checkpoint
from peclip_fast.engine.run_folder import RunFolder

TIMES = ("clips_per_second", "data_wait", "seconds", "peak_memory")


def assert_same(run: RunFolder, whole: RunFolder) -> None:
    """Trained tensors, optimizer, history and report are equal, bit for bit."""
    found, expected = (load_file(r.model / "model.safetensors") for r in (run, whole))
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    found, expected = (read_checkpoint(r.last) for r in (run, whole))
    assert found["place"] == expected["place"]
    for i, state in expected["optimizer"]["state"].items():
        for name, tensor in state.items():
            assert torch.equal(found["optimizer"]["state"][i][name], tensor)
    assert rows(run) == rows(whole)
    for name in ("report.json", "predictions.csv"):
        assert (run.path / name).read_text() == (whole.path / name).read_text()


def rows(run: RunFolder) -> list[dict[str, str]]:
    """metrics.csv without its times and its memory."""
    table = list(csv.DictReader((run.path / "metrics.csv").open()))
    return [{k: v for k, v in row.items() if k not in TIMES} for row in table]
