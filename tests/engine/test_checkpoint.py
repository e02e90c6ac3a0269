"""What a file of best weights must say of itself, and what a report of its training."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from peclip_fast.engine.checkpoint import Best, read_best
from peclip_fast.engine.report import training_facts
from peclip_fast.engine.run_folder import RunFolder
from peclip_fast.errors import InputError
from peclip_fast.models.storage import write_safetensors


@pytest.mark.parametrize(
    ("notes", "message"),
    [
        ({}, "not the weights of a run's best epoch"),
        ({"best": "[]"}, "expected an object, got a list"),
        ({"best": '{"epoch": 1}'}, "war is missing"),
        ({"best": '{"epoch": "1", "war": 0.5}'}, "'epoch': expected a whole number, got '1'"),
        ({"best": '{"epoch": 1, "war": NaN}'}, "'war': expected a number, got 'NaN'"),
    ],
)
def test_other_weights_than_the_best_are_named(
    tmp_path: Path, notes: dict[str, str], message: str
) -> None:
    path = tmp_path / "best.safetensors"
    write_safetensors(path, {"a": torch.zeros(1)}, notes)
    with pytest.raises(InputError, match=rf"best\.safetensors: .*{message}"):
        read_best(path)
    write_safetensors(path, {"a": torch.zeros(1)}, {"best": '{"epoch": 1, "war": 1}'})
    found = read_best(path)
    assert found is not None
    assert found[0] == Best(1, 1.0)


def test_what_a_report_says_of_its_training(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    assert training_facts(run) == {}
    whole = {"uar": 0.5, "training_clips": 15, "skipped_training_clips": ["a: bad"]}
    run.report.write_text(json.dumps(whole))
    del whole["uar"]
    assert training_facts(run) == whole
    run.report.write_text("{}")
    assert training_facts(run) == {}
    for text in ("", "[]", "[" * 100_000, '{"training_clips": "15"}', '{"training_clips": 1.5}'):
        run.report.write_text(text)
        with pytest.raises(InputError, match=r"report\.json: .*; remove it"):
            training_facts(run)
