"""The commands on other backbones: a SigLIP-like one and an EVA-like one."""

from __future__ import annotations

import json
from dataclasses import asdict

import pytest
import torch
from helpers.models.small_towers import SIZE, save_small
from helpers.tiny_runs import write_config
from PIL import Image

from peclip_fast import create_model, from_pretrained
from peclip_fast.commands.embed import main as embed
from peclip_fast.commands.evaluate import main as evaluate
from peclip_fast.commands.explain import main as explain
from peclip_fast.commands.info import main as info
from peclip_fast.commands.predict import main as predict
from peclip_fast.commands.train import main as train
from peclip_fast.engine.checkpoint import read_checkpoint
from peclip_fast.engine.run_folder import RunFolder


@pytest.fixture(scope="module", params=["siglip", "eva02"])
def kind(request):
    return request.param


@pytest.fixture(scope="module")
def run(kind, tiny_clips, tmp_path_factory):
    folder = tmp_path_factory.mktemp(kind)
    backbone = save_small(kind, folder / "backbone")
    config = write_config(folder / "c.yaml", backbone, tiny_clips, checkpoint_every=3)
    options = ["--model.normalize", "clip", "--output", str(folder / "run")]
    assert train(["--config", str(config), *options]) == 0
    return folder / "run"


def test_the_model_of_a_run_is_that_of_its_checkpoint(run):
    model, frames = from_pretrained(run / "model"), torch.rand(1, 2, 3, SIZE, SIZE)
    other = create_model(classes=model.classes, **asdict(model.config)).eval()
    with torch.no_grad():
        expected = model(frames)
        assert not torch.equal(other(frames), expected)
        other.load_trained_state(read_checkpoint(RunFolder(run).last)["model"])
        assert torch.equal(other(frames), expected)


def test_evaluate_gives_the_report_again(run, capsys):
    before = json.loads((run / "report.json").read_text())
    capsys.readouterr()
    assert evaluate([str(run), "--json"]) == 0
    again = json.loads(capsys.readouterr().out)
    assert {key: again[key] for key in ("uar", "war", "recall")} == {
        key: before[key] for key in ("uar", "war", "recall")
    }


def test_predict(run, tiny_clips, capsys):
    capsys.readouterr()
    assert predict([str(run), str(tiny_clips / "test" / "anger" / "000"), "--json"]) == 0
    (entry,) = json.loads(capsys.readouterr().out)
    assert sum(entry["probabilities"].values()) == pytest.approx(1, abs=1e-5)


@pytest.mark.slow
def test_explain(run, tiny_clips, tmp_path, capsys):
    clip = str(tiny_clips / "test" / "anger" / "001")
    assert explain([str(run), clip, "--output", str(tmp_path)]) == 0
    with Image.open(tmp_path / "001.png") as picture:
        assert picture.height > 1000
    assert "no curve" not in capsys.readouterr().err


def test_embed(run, capsys):
    capsys.readouterr()
    assert embed([str(run)]) == 0
    assert "silhouette" in capsys.readouterr().out


def test_info(run, kind, capsys):
    capsys.readouterr()
    assert info(["--config", str(run / "config.yaml"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    model = from_pretrained(run / "model")
    assert found["trained"]["total"] == sum(t.numel() for t in model.trained_state().values())
    assert found["frozen"] == sum(p.numel() for p in model.backbone.parameters())
