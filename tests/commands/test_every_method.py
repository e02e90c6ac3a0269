"""The commands on runs of every method of the package."""

from __future__ import annotations

import csv
import json
import math
import shutil

import pytest
import yaml
from helpers.models.every_method import NAMES, options_of
from helpers.same_runs import assert_same, rows
from helpers.tiny_runs import CLASSES, killed_in_step, write_config
from safetensors.torch import load_file

from peclip_fast import from_pretrained
from peclip_fast.commands.embed import main as embed
from peclip_fast.commands.evaluate import main as evaluate
from peclip_fast.commands.explain import main as explain
from peclip_fast.commands.predict import main as predict
from peclip_fast.commands.train import main as train
from peclip_fast.data.cues.descriptions import write_descriptions
from peclip_fast.engine.run_folder import RunFolder


@pytest.fixture(scope="module", params=NAMES)
def config(request, tiny_backbone, tiny_clips, tmp_path_factory):
    """Two epochs of four steps."""
    options = {
        "model": {"backbone": tiny_backbone, **options_of(request.param)},
        "data": {
            "dataset": "folder", "root": str(tiny_clips), "frames": 2, "num_workers": 0,
            "mix": {"mixup": 0.0, "fmix": 0.0},
        },
        "train": {
            "epochs": 2, "warmup_epochs": 1, "batch_size": 4, "checkpoint_every": 2, "threads": 1,
            "device": "cpu", "test_every": 2,
        },
    }  # fmt: skip
    path = tmp_path_factory.mktemp(request.param) / "c.yaml"
    path.write_text(yaml.safe_dump(options))
    return path


@pytest.fixture(scope="module")
def run(config):
    folder = config.parent / "run"
    assert train(["--config", str(config), "--output", str(folder)]) == 0
    return RunFolder(folder)


def test_it_is_trained_and_tested(run):
    report = json.loads(run.report.read_text())
    model = from_pretrained(run.model)
    saved = load_file(run.model / "model.safetensors")
    assert saved.keys() == model.trained_parameters().keys()
    number = sum(model.trained_counts().values())
    assert report["parameters"]["trained"] == number
    assert report["clips"] == 9
    history = list(csv.DictReader(run.metrics.open()))
    if not number:
        assert (report["protocol"], report["epochs"], history) == ("not trained", 0, [])
        assert not run.curves.exists()
        return
    assert report["protocol"] == "last epoch (2 of 2)"
    assert [float(row["epoch"]) for row in history] == [1, 2]
    assert float(history[1]["loss"]) < 1.05 * float(history[0]["loss"])
    assert run.curves.exists()


def test_it_goes_on_where_it_was_stopped(config, run, tmp_path):
    """After six of eight steps, where the last checkpoint was."""
    argv = ["--config", str(config), "--output", str(tmp_path / "run")]
    trains = run.last.exists()
    if trains:
        with killed_in_step(8):
            train(argv)
    again = RunFolder(tmp_path / "run")
    assert train([*argv, "--resume"]) == 0
    if trains:
        assert_same(again, run)
    else:
        assert rows(again) == rows(run)
        assert again.report.read_text() == run.report.read_text()
        # A finished run stays, whatever hinders it later.
        assert train([*argv, "--resume", "--data.root", str(tmp_path / "gone")]) == 2
        assert again.report.exists()


def test_commands_of_a_finished_run(run, tiny_clips, tmp_path, capsys):
    clip = tiny_clips / "test" / "anger" / "000"
    with (run.path / "predictions.csv").open() as file:
        rows = {row["path"]: row for row in csv.DictReader(file)}
    capsys.readouterr()
    assert predict([str(run.path), str(clip), "--json"]) == 0
    (found,) = json.loads(capsys.readouterr().out)
    for name in CLASSES:
        expected = pytest.approx(float(rows[str(clip)][name]), abs=1e-5)
        assert found["probabilities"][name] == expected
    assert evaluate([str(run.path), "--output", str(tmp_path / "again"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["war"] == json.loads(run.report.read_text())["war"]
    assert explain([str(run.path), str(clip), "--output", str(tmp_path / "e")]) == 0
    assert sorted(p.name for p in (tmp_path / "e").iterdir()) == ["000.mp4", "000.png"]
    assert embed([str(run.path), "--output", str(tmp_path / "m")]) == 0
    drawn = {p.name for p in (tmp_path / "m").iterdir()}
    assert {"embedding.png", "embedding.safetensors"} <= drawn
    assert ("curves.png" in drawn) == run.curves.exists()
    tensors = load_file(tmp_path / "m" / "embedding.safetensors")
    assert all(t.isfinite().all() for t in tensors.values() if t.is_floating_point())


def test_zero_shot_clip_takes_any_classes(tiny_backbone, tiny_clips, tmp_path, capsys):
    """As it was trained on none."""
    argv = ["--config", str(write_config(tmp_path / "c.yaml", tiny_backbone, tiny_clips))]
    argv += ["--model.method", "zero_shot", "--model.texts", "class_names"]
    assert train([*argv, "--output", str(tmp_path / "run")]) == 0
    for name, other in zip(CLASSES, ("red", "green", "blue"), strict=True):
        for split in ("train", "test"):
            shutil.copytree(tiny_clips / split / name, tmp_path / "others" / split / other)
    capsys.readouterr()
    options = ["--data.root", str(tmp_path / "others"), "--json"]
    assert evaluate([str(tmp_path / "run"), *options]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["classes"] == ["blue", "green", "red"]
    assert report["protocol"] == "not trained"


def test_emoclip_is_trained_on_descriptions_and_tested_on_any_classes(
    tiny_backbone, tiny_clips, tmp_path, capsys
):
    """Its scale is trained with it."""
    words = dict(zip(CLASSES, ("lips part", "brows lower", "a jaw drops"), strict=True))
    clips = tiny_clips.glob("train/*/*")
    write_descriptions(tmp_path / "c.jsonl", {str(c): words[c.parent.name] for c in clips})
    argv = ["--config", str(write_config(tmp_path / "c.yaml", tiny_backbone, tiny_clips))]
    argv += [f"--model.{name}={value}" for name, value in options_of("emoclip").items()]
    argv += ["--train.target=descriptions", f"--data.descriptions={tmp_path / 'c.jsonl'}"]
    argv += ["--data.mix.mixup=0", "--data.mix.fmix=0", "--train.epochs=20", "--train.batch_size=5"]
    argv += ["--train.lr.temporal=5e-3", "--train.test_every=0", f"--output={tmp_path / 'run'}"]
    assert train(argv) == 0
    losses = [float(row["loss"]) for row in rows(RunFolder(tmp_path / "run"))]
    assert losses[-1] < 0.7 * losses[0]
    assert load_file(tmp_path / "run/model/model.safetensors")["scale.log"] != math.log(100)
    texts = [f"--model.texts.{name}={words[name]}" for name in CLASSES]
    capsys.readouterr()
    assert evaluate([str(tmp_path / "run"), "--json", *texts]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["protocol"].endswith("zero-shot: trained on the descriptions of folder, tested "
                                       "on the classes of folder")  # fmt: skip
    assert report["war"] > 0.6  # chance is a third
