"""Whole runs of the command: what they leave, and what they refuse."""

from __future__ import annotations

import csv
import itertools
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from helpers.forked import Forked
from helpers.tiny_runs import CLASSES, largest_file, no_pictures, write_config
from safetensors.torch import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from peclip_fast import from_pretrained
from peclip_fast.commands.shared.main import script
from peclip_fast.commands.train import main
from peclip_fast.engine.checkpoint import read_best, read_checkpoint
from peclip_fast.engine.objective import Objective
from peclip_fast.engine.run_folder import RunFolder


@pytest.fixture(scope="module", autouse=True)
def without_pictures():
    """What is in them is for the tests of drawing."""
    with no_pictures():
        yield


@pytest.fixture
def config(tiny_backbone, tiny_clips, tmp_path):
    """Writes a configuration with the given training options and gives its path."""

    def write(**train: object) -> str:
        return str(write_config(tmp_path / "c.yaml", tiny_backbone, tiny_clips, **train))

    return write


def history(run: Path) -> list[dict[str, str]]:
    return list(csv.DictReader((run / "metrics.csv").open()))


def test_a_run_leaves_all_its_files(config, tmp_path, capsys):
    run = RunFolder(tmp_path / "run")
    assert main(["--config", config(), "--output", str(run.path)]) == 0
    out = capsys.readouterr().out
    assert "15 training and 9 test clips of 3 classes" in out
    assert "epoch 1/2  loss " in out
    assert "epoch 2/2  loss " in out
    assert "protocol: last epoch (2 of 2)" in out
    assert sorted(path.name for path in run.path.iterdir()) == [
        "checkpoints",
        "config.yaml",
        "confusion.png",
        "crop.json",
        "curves.png",
        "metrics.csv",
        "model",
        "predictions.csv",
        "report.json",
        "tensorboard",
    ]
    report = json.loads((run.path / "report.json").read_text())
    last = history(run.path)[-1]
    assert report["war"] == float(last["test_war"])
    assert report["uar"] == float(last["test_uar"])
    assert report["seed"] == 42
    assert report["dataset"] == "folder"
    assert report["parameters"]["trained"] == sum(
        t.numel() for t in load_file(run.model / "model.safetensors").values()
    )
    # The saved model is the one that was tested.
    assert set(from_pretrained(run.model).classes) == set(CLASSES)


def test_the_loss_falls_and_the_colours_are_learned(config, tmp_path):
    options = {"epochs": 6, "lr": {"adapters": 5e-3}, "test_every": 3}
    argv = ["--config", config(**options), "--output", str(tmp_path / "run")]
    assert main([*argv, "--data.mix.mixup", "0", "--data.mix.fmix", "0"]) == 0
    rows = history(tmp_path / "run")
    assert float(rows[-1]["loss"]) < 0.3 * float(rows[0]["loss"])
    assert [row["test_war"] != "" for row in rows] == [False, False, True] * 2
    assert json.loads((tmp_path / "run" / "report.json").read_text())["uar"] == 1


def test_learning_rates_of_the_groups(config, tmp_path):
    argv = ["--config", config(epochs=2), "--output", str(tmp_path / "run")]
    assert main([*argv, "--train.lr.prompts", "1e-3"]) == 0
    first, last = history(tmp_path / "run")
    assert float(first["lr_adapters"]) == 2e-3  # at the end of the warm-up
    assert float(first["lr_prompts"]) == 1e-3
    assert 0 < float(last["lr_adapters"]) == pytest.approx(2 * float(last["lr_prompts"]))


@pytest.fixture(scope="module")
def finished(tiny_backbone, tiny_clips, tmp_path_factory):
    """A run that has ended, and its arguments; nothing may write to it."""
    folder = tmp_path_factory.mktemp("finished")
    run = RunFolder(folder / "run")
    config = write_config(folder / "c.yaml", tiny_backbone, tiny_clips)
    argv = ["--config", str(config), "--output", str(run.path)]
    assert main(argv) == 0
    return run, argv


def test_a_checkpoint_holds_what_is_trained_and_no_more(finished):
    run, _ = finished
    trained = load_file(run.model / "model.safetensors")
    checkpoint = read_checkpoint(run.last)
    assert checkpoint["model"].keys() == trained.keys()
    moments = checkpoint["optimizer"]["state"].values()
    assert sum(m["exp_avg"].numel() for m in moments) == sum(t.numel() for t in trained.values())
    size = sum(t.numel() * 4 for t in trained.values())
    assert run.last.stat().st_size < 3 * size + 1000 * len(trained) * 3


@pytest.mark.slow
def test_the_same_seed_gives_the_same_bits_and_another_does_not(config, tmp_path):
    states = []
    for number, seed in enumerate((1, 1, 2)):
        run = RunFolder(tmp_path / str(number))
        assert (
            main(
                [
                    "--config",
                    config(epochs=1, warmup_epochs=0, seed=seed),
                    "--output",
                    str(run.path),
                ]
            )
            == 0
        )
        states.append(load_file(run.model / "model.safetensors"))
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    assert not all(torch.equal(states[0][name], states[2][name]) for name in states[0])


@pytest.mark.slow
def test_a_run_is_repeated_from_its_saved_configuration(config, tmp_path):
    first, again = RunFolder(tmp_path / "first"), RunFolder(tmp_path / "again")
    argv = ["--config", config(), "--train.seed", "5", "--output", str(first.path)]
    assert main(argv) == 0
    assert main(["--config", str(first.config), "--output", str(again.path)]) == 0
    assert again.config.read_text() == first.config.read_text()
    assert again.last.read_bytes()  # it ran
    assert (again.path / "predictions.csv").read_text() == (
        first.path / "predictions.csv"
    ).read_text()


def test_a_row_of_a_table_over_a_configuration(config, tmp_path):
    run = RunFolder(tmp_path / "run")
    assert main(["--config", config(epochs=2), "table8/lstm", "--output", str(run.path)]) == 0
    assert "recurrence: lstm" in run.config.read_text()
    trained = load_file(run.model / "model.safetensors")
    gates = [t.shape for name, t in trained.items() if name.endswith("weight_ih_l0")]
    assert gates
    assert all(rows == 4 * columns for rows, columns in gates)


def test_select_best_says_so(config, tmp_path, capsys):
    run = RunFolder(tmp_path / "run")
    argv = ["--config", config(epochs=3, select="best"), "--output", str(run.path)]
    assert main([*argv, "--data.mix.mixup", "0"]) == 0
    rows = history(run.path)
    wars = [float(row["test_war"]) for row in rows]
    best, _ = read_best(run.best)
    assert best.epoch == 1 + wars.index(max(wars))
    report = json.loads((run.path / "report.json").read_text())
    assert report["war"] == max(wars)
    assert f"best epoch by WAR on the test split itself ({best.epoch} of 3)" in report["protocol"]
    assert "optimistic" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--data.root", "/nowhere"], "/nowhere"),
        (["--data.root", "null"], "data.root"),
        (["--data.dataset", "dfew", "--data.fold", "6"], "fold"),
        (["--model.backbone", "ViT-B-17"], "ViT-B-17"),
        (["--model.texts", "[one]"], "expected one per class"),
        (["--train.precision", "fp16"], "needs a GPU"),
        (["--train.cuda_graphs", "true"], "train.cuda_graphs: needs a GPU"),
        (["--train.cuda_graphs", "true", "--train.accumulate", "2"], "needs a GPU"),
        (["--train.recompute", "4"], "at most the 3 vision blocks"),
        (["--data.frame", "3"], "did you mean --data.frames?"),
        (["--config", "table8/lstm"], "expected a recipe in front of it"),
        (["--output", "/proc/run"], "/proc/run: can't write there"),
    ],
)
def test_refusals_write_nothing(config, tmp_path, capsys, argv, message):
    run = tmp_path / "run"
    assert main(["--config", config(), "--output", str(run), *argv]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert message in err
    assert not run.exists()


def test_a_used_folder_is_refused(finished, config, tmp_path, capsys):
    run, argv = finished[0].path, finished[1]
    before = {p: p.read_bytes() for p in run.rglob("*") if p.is_file()}
    capsys.readouterr()
    assert main(argv) == 2
    assert "holds a run already; go on with it by --resume" in capsys.readouterr().err
    assert {p: p.read_bytes() for p in run.rglob("*") if p.is_file()} == before
    assert main(["--config", config(), "--output", str(tmp_path)]) == 2
    assert "holds other files" in capsys.readouterr().err


def test_a_full_disk_ends_in_one_line_and_leaves_the_last_checkpoint(config, tmp_path, capsys):
    run = RunFolder(tmp_path / "run")
    argv = ["--config", config(checkpoint_every=1), "--output", str(run.path)]
    with largest_file(200_000):
        assert main(argv) == 2
    err = capsys.readouterr().err
    assert err == f"error: {run.last}: File too large\n"
    assert not run.path.exists()
    assert main(argv) == 0


def test_a_bad_clip_is_named(config, tiny_clips, tmp_path, capsys):
    root = tmp_path / "clips"
    subprocess.run(["cp", "-r", str(tiny_clips), str(root)], check=True)
    bad = root / "train" / "anger" / "900.mp4"
    bad.write_text("not a video")
    argv = ["--config", config(checkpoint_every=1000), "--data.root", str(root)]
    argv += ["--data.num_workers", "1"]
    assert main([*argv, "--output", str(tmp_path / "run")]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert str(bad) in err
    assert not (tmp_path / "run").exists()
    # Skipped on request, counted and listed.
    argv += ["--data.on_bad_clip", "skip", "--output", str(tmp_path / "skipping")]
    assert main(argv) == 0
    assert f"warning: clip skipped: {bad}" in capsys.readouterr().err
    report = json.loads((tmp_path / "skipping" / "report.json").read_text())
    assert len(report["skipped_training_clips"]) == 1
    assert str(bad) in report["skipped_training_clips"][0]


@pytest.mark.slow
def test_killed_and_resumed(config, tmp_path):
    """kill -9 amid an epoch, with a worker process; the end is that of an undisturbed run."""
    options = ["--config", config(epochs=3, checkpoint_every=1), "--data.num_workers", "1"]
    whole, run = tmp_path / "whole", tmp_path / "run"
    assert main([*options, "--output", str(whole)]) == 0
    training = ["train", *options, "--output", str(run), "--resume"]
    process = Forked(script, training, errors=tmp_path / "said")
    last = RunFolder(run).last
    while not last.exists():
        assert process.poll() is None, "the run ended without a checkpoint"
        time.sleep(0.001)
    time.sleep(0.05)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    assert not (run / "report.json").exists()
    # TensorBoard reads files in the order of the second in their names, then of the process.
    time.sleep(1)
    assert main([*options, "--output", str(run), "--resume"]) == 0
    for name in ("report.json", "predictions.csv"):
        assert (run / name).read_text() == (whole / name).read_text()
    states = [load_file(r / "model" / "model.safetensors") for r in (run, whole)]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[1])
    losses = [[row["loss"] for row in history(r)] for r in (run, whole)]
    assert losses[0] == losses[1]
    # No curve has two points at a step.
    curves = EventAccumulator(str(run / "tensorboard"))
    curves.Reload()
    assert [event.step for event in curves.Scalars("epoch/loss")] == [5, 10, 15]


def test_the_bar_of_a_terminal(config, tmp_path, capsys, monkeypatch):
    """A run on a terminal shows the loss and the speed, and a resumed one where it stands."""
    argv = ["--config", config(checkpoint_every=1), "--output", str(tmp_path / "run")]
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    step, batches = Objective.forward, itertools.count()

    def stopping(self, *args):
        if next(batches) == 8:
            raise KeyError("stop")
        return step(self, *args)

    with monkeypatch.context() as patch:
        patch.setattr(Objective, "forward", stopping)
        with pytest.raises(KeyError):
            main(argv)
    out = capsys.readouterr().out
    assert "epoch 1/2: 100%" in out
    assert "loss=" in out
    assert "clips/s=" in out
    assert main([*argv, "--resume"]) == 0
    out = capsys.readouterr().out
    assert "epoch 2/2: 100%" in out
    assert "epoch 2/2:  20%" not in out  # it goes on after three of five batches
    assert "epoch 2/2  loss " in out
