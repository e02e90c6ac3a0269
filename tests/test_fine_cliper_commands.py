"""FineCLIPER by the same commands: trained, resumed, evaluated, used."""

from __future__ import annotations

import json

import pytest
from tiny_runs import write_config

from peclip_fast.embed.__main__ import main as embed
from peclip_fast.evaluate import main as evaluate
from peclip_fast.explain.__main__ import main as explain
from peclip_fast.info import main as info
from peclip_fast.predict import main as predict
from peclip_fast.train import main as train

METHOD = ["--model.method", "finecliper", "--model.finecliper.video_hidden", "8"]
METHOD += ["--model.finecliper.text_hidden", "8", "--train.optimizer", "sgd"]


@pytest.fixture(scope="module")
def run(tiny_backbone, tiny_clips, tmp_path_factory):
    folder = tmp_path_factory.mktemp("fine_cliper")
    config = write_config(folder / "c.yaml", tiny_backbone, tiny_clips)
    assert train(["--config", str(config), *METHOD, "--output", str(folder / "run")]) == 0
    return folder / "run"


def test_the_same_run_folder(run, capsys):
    report = json.loads((run / "report.json").read_text())
    description = json.loads((run / "model" / "config.json").read_text())
    assert description["config"]["method"] == "finecliper"
    assert description["config"]["finecliper"]["video_hidden"] == 8
    assert report["parameters"]["trained"] > 0
    assert evaluate([str(run), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["war"] == report["war"]


def test_predict(run, tiny_clips, capsys):
    clip = next((tiny_clips / "test" / "anger").iterdir())
    assert predict([str(run), str(clip), "--json"]) == 0
    (found,) = json.loads(capsys.readouterr().out)
    assert sum(found["probabilities"].values()) == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize(("command", "name"), [(embed, "embed"), (explain, "explain")])
def test_what_takes_pe_clip_apart_says_so(run, tiny_clips, capsys, command, name):
    clip = [str(next((tiny_clips / "test" / "anger").iterdir()))] if name == "explain" else []
    assert command([str(run), *clip]) == 2
    expected = f"error: {name}: takes runs of PE-CLIP alone, not of finecliper\n"
    assert capsys.readouterr().err.endswith(expected)


def test_info(capsys):
    assert info(["--config", "dfew", "finecliper/video", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["trained"]["total"] == pytest.approx(13e6, rel=0.05)
    assert found["method"] == "finecliper"


@pytest.mark.parametrize("branch", ["parsing", "landmarks", "descriptions"])
def test_branches_that_no_dataset_feeds_yet(branch, tiny_backbone, tiny_clips, tmp_path, capsys):
    config = write_config(tmp_path / "c.yaml", tiny_backbone, tiny_clips)
    options = [*METHOD, f"--model.finecliper.{branch}", "true"]
    assert train(["--config", str(config), *options, "--output", str(tmp_path / "run")]) == 2
    assert f"model.finecliper.{branch}: clips have no {branch} yet" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
