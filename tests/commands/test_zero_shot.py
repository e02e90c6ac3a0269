"""Trained on the descriptions of clips, tested on the classes of others."""

from __future__ import annotations

import csv
import json

import pytest
import torch
from helpers.tiny_runs import CLASSES, killed_in_step, write_clips, write_config
from safetensors.torch import load_file

from peclip_fast.commands.evaluate import main as evaluate
from peclip_fast.commands.train import main as train
from peclip_fast.config.layers import config_layers
from peclip_fast.data.cues.descriptions import write_descriptions

SMALL = ["--model.video_hidden=16", "--model.text_hidden=16"]
SMALL += ["--train.epochs=5", "--train.warmup_epochs=1", "--train.batch_size=5"]
SMALL += ["--train.lr.adapters=3e-3"]


@pytest.fixture(scope="module")
def options(tiny_backbone, tiny_clips, tmp_path_factory):
    """A text for each colour, so that some of a batch are equal; in front of them, the clip's."""
    folder = tmp_path_factory.mktemp("zero_shot")
    config = write_config(folder / "c.yaml", tiny_backbone, tiny_clips)
    words = dict(zip(CLASSES, ("lips part", "brows lower", "a jaw drops"), strict=True))
    clips = tiny_clips.glob("train/*/*")
    write_descriptions(folder / "fine.jsonl", {str(c): words[c.parent.name] for c in clips})
    layers = ["--config", str(config), "finecliper/zero-shot", *SMALL]
    return [*layers, "--data.descriptions", str(folder / "fine.jsonl")]


@pytest.fixture(scope="module")
def run(options, tmp_path_factory):
    folder = tmp_path_factory.mktemp("zero_shot_run") / "run"
    assert train([*options, "--output", str(folder)]) == 0
    return folder


def test_the_loss_falls_and_the_own_classes_are_tested(run):
    rows = list(csv.DictReader((run / "metrics.csv").open()))
    assert float(rows[-1]["loss"]) < 0.7 * float(rows[0]["loss"])
    report = json.loads((run / "report.json").read_text())
    assert report["classes"] == sorted(CLASSES)
    assert report["protocol"].endswith(
        "; zero-shot: trained on the descriptions of folder, tested on the classes of folder"
    )
    tensors = load_file(run / "model" / "model.safetensors")
    assert {name.split(".")[0] for name in tensors} == {"positive", "frames", "temporal"}
    assert all(t.any() for name, t in tensors.items() if ".up." in name and "series.2" not in name)


@pytest.mark.slow
def test_it_goes_on_where_it_was_stopped(run, options, tmp_path):
    argv = [*options, "--output", str(tmp_path / "run")]
    with killed_in_step(8):
        train(argv)
    assert train([*argv, "--resume"]) == 0
    found, expected = (load_file(r / "model/model.safetensors") for r in (tmp_path / "run", run))
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_other_classes_of_another_dataset(run, tmp_path, capsys):
    """No text of theirs is asked for; what the run says stays."""
    root = write_clips(tmp_path / "clips", train=1, test=2)
    for split in ("train", "test"):
        (root / split / "anger").rename(root / split / "contempt")
        (root / split / "sadness").rename(root / split / "calm")
    before = (run / "report.json").read_bytes()
    there = tmp_path / "list.csv"
    clips = sorted(root.glob("test/*/*"))
    rows = [f"{clip.relative_to(tmp_path)},{clip.parent.name}" for clip in clips]
    there.write_text("\n".join(["path,label", *rows, ""]))
    options = [
        "--data.dataset",
        "csv",
        "--data.root",
        str(tmp_path),
        "--data.test_list",
        str(there),
    ]
    assert evaluate([str(run), *options, "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert sorted(report["classes"]) == ["calm", "contempt", "happiness"]
    assert report["clips"] == 6
    assert report["protocol"].endswith(
        "; zero-shot: trained on the descriptions of folder, tested on the classes of csv"
    )
    assert (run / "report.json").read_bytes() == before


def test_what_it_needs(options, tmp_path, capsys):
    argv = [*options, "--output", str(tmp_path / "run")]
    assert train([*argv, "--train.batch_size=1"]) == 2
    assert "train.batch_size=1: expected at least 2 clips for each" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_the_packaged_recipe_is_the_video_s_but_for_the_target():
    zero_shot, video = (read_yaml_of(name) for name in ("finecliper/zero-shot", "finecliper/video"))
    del zero_shot["train"]["target"]
    for option in ("negative_adapter", "negative_text"):
        del zero_shot["model"][option]
    assert zero_shot == video


def read_yaml_of(name):
    return dict(config_layers(["dfew", name]))[name]
