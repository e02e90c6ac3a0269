"""A run that was stopped anywhere and resumed ends with the bits of one that was not."""

from __future__ import annotations

import csv
import itertools
import os
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tiny_runs import write_config

from peclip_fast.engine.checkpoint import read_checkpoint
from peclip_fast.engine.module import ClipClassifier
from peclip_fast.engine.run_folder import RunFolder
from peclip_fast.files import PARTIAL, is_partial
from peclip_fast.train import main

# The options of a run of 2 epochs of 5 batches, and the batches before which it is stopped: the
# first, second and last of an epoch, as others in its middle are like the second.
SETUPS = {
    "every step": ({"checkpoint_every": 1}, (0, 1, 4, 5, 6, 9)),
    "best": ({"checkpoint_every": 3, "select": "best"}, (4, 8)),
    "accumulated": ({"checkpoint_every": 1, "accumulate": 2}, (2, 3, 9)),
    "bf16, clipped": ({"checkpoint_every": 1, "precision": "bf16", "clip_norm": 0.5}, (7,)),
}
TIMES = ("clips_per_second", "data_wait", "seconds")


class Stop(BaseException):
    """Stands for the kill."""


@pytest.fixture(scope="module")
def run_whole(tiny_backbone, tiny_clips, tmp_path_factory):
    """Gives a run of a setup that was not stopped, and its configuration; each is run once."""
    kept = {}

    def run(setup: str) -> tuple[RunFolder, str]:
        if setup not in kept:
            folder = tmp_path_factory.mktemp("whole")
            options = SETUPS[setup][0]
            config = str(write_config(folder / "c.yaml", tiny_backbone, tiny_clips, **options))
            assert main(["--config", config, "--output", str(folder / "run")]) == 0
            kept[setup] = RunFolder(folder / "run"), config
        return kept[setup]

    return run


def assert_same(run: RunFolder, whole: RunFolder) -> None:
    """Trained tensors, optimizer, history and report are equal, bit for bit."""
    found, expected = (load_file(r.model / "model.safetensors") for r in (run, whole))
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    found, expected = (read_checkpoint(r.last) for r in (run, whole))
    for i, state in expected["optimizer_states"][0]["state"].items():
        for name, tensor in state.items():
            assert torch.equal(found["optimizer_states"][0]["state"][i][name], tensor)
    assert rows(run) == rows(whole)
    for name in ("report.json", "predictions.csv"):
        assert (run.path / name).read_text() == (whole.path / name).read_text()


def rows(run: RunFolder) -> list[dict[str, str]]:
    """metrics.csv without its times."""
    table = list(csv.DictReader((run.path / "metrics.csv").open()))
    return [{k: v for k, v in row.items() if k not in TIMES} for row in table]


def stop_before(monkeypatch: pytest.MonkeyPatch, batch: int, argv: list[str]) -> None:
    """Run the command until that batch, counted over the epochs."""
    step, batches = ClipClassifier.training_step, itertools.count()

    def stopping(self, *args):
        if next(batches) == batch:
            raise Stop
        return step(self, *args)

    with monkeypatch.context() as patch:
        patch.setattr(ClipClassifier, "training_step", stopping)
        with pytest.raises(Stop):
            main(argv)


@pytest.mark.parametrize(
    ("setup", "batch"), [(name, batch) for name, (_, stops) in SETUPS.items() for batch in stops]
)
def test_stopped_before_a_batch(run_whole, tmp_path, monkeypatch, setup, batch):
    whole, config = run_whole(setup)
    run = RunFolder(tmp_path / "run")
    stop_before(monkeypatch, batch, ["--config", config, "--output", str(run.path)])
    assert main(["--config", config, "--output", str(run.path), "--resume"]) == 0
    assert_same(run, whole)


def test_activations_may_be_kept_before_and_computed_again_after(run_whole, tmp_path, monkeypatch):
    """A run that doesn't fit goes on where it does."""
    whole, config = run_whole("bf16, clipped")
    run = RunFolder(tmp_path / "run")
    stop_before(monkeypatch, 7, ["--config", config, "--output", str(run.path)])
    argv = ["--config", config, "--output", str(run.path), "--resume", "--train.recompute", "2"]
    assert main(argv) == 0
    assert_same(run, whole)


def test_stopped_at_each_write(run_whole, tmp_path, monkeypatch):
    """Every file of a run in turn is left half written aside, as by a kill."""
    whole, config = run_whole("best")
    replace, written = os.replace, []
    while True:
        run, files = RunFolder(tmp_path / f"run{len(written)}"), itertools.count()

        def stopping(source, target, files=files):
            if next(files) == len(written):
                written.append(Path(target).name)
                half = Path(f"{target}{PARTIAL}0")
                half.write_bytes(Path(source).read_bytes()[:100])
                raise Stop
            replace(source, target)

        with monkeypatch.context() as patch:
            patch.setattr(os, "replace", stopping)
            try:
                main(["--config", config, "--output", str(run.path)])
                break  # it has no further file
            except Stop:
                pass
        assert main(["--config", config, "--output", str(run.path), "--resume"]) == 0
        assert_same(run, whole)
        assert not [path for path in run.path.rglob("*") if is_partial(path)]
    assert written[0] == "config.yaml"
    assert {"last.ckpt", "best.safetensors", "metrics.csv", "model.safetensors"} < set(written)
    assert written[-1] == "report.json"


def test_resume_refuses_another_configuration(run_whole, capsys):
    run, _ = run_whole("every step")
    before = run.last.read_bytes()
    command = ["--output", str(run.path), "--resume"]
    assert main([*command, "--train.epochs", "3"]) == 2
    assert capsys.readouterr().err.strip() == (
        f"error: {run.path}: started with train.epochs=2, not 3"
    )
    assert run.last.read_bytes() == before


def test_resume_refuses_a_broken_checkpoint(run_whole, tmp_path, capsys):
    whole, _ = run_whole("every step")
    run = RunFolder(tmp_path / "run")
    shutil.copytree(whole.path, run.path)
    run.last.write_bytes(run.last.read_bytes()[:1000])
    assert main(["--output", str(run.path), "--resume"]) == 2
    assert capsys.readouterr().err.strip() == (
        f"error: {run.last}: not a checkpoint of this program"
    )
