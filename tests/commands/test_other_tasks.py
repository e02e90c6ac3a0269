"""A task without faces: which way a square moves, from drawing the clips to a resumed run."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import torch
import yaml
from helpers.tiny_runs import SIZE, write_config
from PIL import Image
from safetensors.torch import load_file

from peclip_fast import from_pretrained
from peclip_fast.commands.predict import main as predict
from peclip_fast.commands.train import main as train
from peclip_fast.engine.objective import Objective
from peclip_fast.engine.run_folder import RunFolder

STEPS = {"move_left": (-1, 0), "MoveRight": (1, 0), "nach oben": (0, -1), "вниз": (0, 1)}
CLASSES = ["move_left", "MoveRight", "nach oben", "вниз"]  # as their folders are sorted
TEXTS = {
    "вниз": "a square that falls",
    "move_left": "a square that moves: to the left",
    "nach oben": "a square that rises",
    "MoveRight": "a square that moves to the right",
}


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    """Class folders of frame folders: a square that crosses the picture, each its own way."""
    root = tmp_path_factory.mktemp("squares")
    rng = np.random.default_rng(0)
    for split, number in (("train", 3), ("test", 2)):
        for name, step in STEPS.items():
            for clip in range(number):
                folder = root / split / name / f"{clip}"
                folder.mkdir(parents=True)
                start, colour = rng.integers(11, 16, 2), rng.integers(100, 256, 3)
                for frame in range(5):
                    x, y = start + 4 * (frame - 2) * np.array(step)
                    pixels = np.full((SIZE, SIZE, 3), 20, np.uint8)
                    pixels[y : y + 6, x : x + 6] = colour
                    Image.fromarray(pixels).save(folder / f"{frame}.png")
    return root


@pytest.fixture
def options(clips, tiny_backbone, tmp_path):
    """Of a run whose texts come from a file; a flip would turn left into right."""
    lines = [f"{name}: {text}" for name, text in TEXTS.items()]
    (tmp_path / "squares.txt").write_text("\n".join(["# which way", *lines]), encoding="utf-8")
    config = write_config(tmp_path / "c.yaml", tiny_backbone, clips, batch_size=4)
    content = yaml.safe_load(config.read_text())
    content["model"]["texts"] = str(tmp_path / "squares.txt")
    content["data"] |= {"frames": 5, "augment": {"hflip": 0.0}}
    config.write_text(yaml.safe_dump(content))
    return ["--config", str(config)]


def test_trained_stopped_resumed_and_predicted(options, clips, tmp_path, capsys, monkeypatch):
    whole, run = RunFolder(tmp_path / "whole"), RunFolder(tmp_path / "run")
    assert train([*options, "--output", str(whole.path)]) == 0
    assert "12 training and 8 test clips of 4 classes" in capsys.readouterr().out

    step, batches = Objective.forward, []

    def stopping(self, *args):
        batches.append(args)
        if len(batches) == 5:
            raise KeyError("stop")
        return step(self, *args)

    with monkeypatch.context() as patch:
        patch.setattr(Objective, "forward", stopping)
        with pytest.raises(KeyError):
            train([*options, "--output", str(run.path)])
    lines = (tmp_path / "squares.txt").read_text(encoding="utf-8")
    (tmp_path / "squares.txt").unlink()
    assert yaml.safe_load(run.config.read_text())["model"]["texts"] == TEXTS
    assert TEXTS["вниз"] in run.config.read_text(encoding="utf-8")
    assert train(["--output", str(run.path), "--resume"]) == 0
    assert "(resumed)" in capsys.readouterr().out

    states = [load_file(r.model / "model.safetensors") for r in (whole, run)]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    moved = shutil.move(run.model, tmp_path / "model")  # it needs no file but its own
    model = from_pretrained(moved)
    assert model.classes == tuple(CLASSES)
    assert model.texts == tuple(TEXTS[name] for name in CLASSES)
    shutil.move(moved, run.model)

    clip = str(clips / "test" / "вниз" / "0")
    capsys.readouterr()
    assert predict([str(run.path), clip, "--json"]) == 0
    (found,) = json.loads(capsys.readouterr().out)
    assert list(found["probabilities"]) == CLASSES
    assert found["prediction"] in CLASSES
    assert predict([str(run.path), clip]) == 0
    assert "вниз" in capsys.readouterr().out

    (tmp_path / "squares.txt").write_text(lines.replace("falls", "sinks"), encoding="utf-8")
    assert train([*options, "--output", str(run.path), "--resume"]) == 2
    assert "started with model.texts=" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "вниз: a square that falls\n",
            "",
            "squares.txt: no text for вниз; classes: move_left, M",
        ),
        ("nach oben", "nach unten", "squares.txt:4: unknown class 'nach unten'; classes: move_l"),
        ("nach oben", "move_left", "squares.txt:4: the class 'move_left' comes twice, before in"),
    ],
)
def test_files_that_do_not_fit_the_classes(options, tmp_path, capsys, old, new, message):
    texts = tmp_path / "squares.txt"
    texts.write_text(texts.read_text("utf-8").replace(old, new), encoding="utf-8")
    assert train([*options, "--output", str(tmp_path / "run")]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert message in err
    assert err.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_names_of_classes_and_missing_texts(options, tmp_path, capsys):
    run = RunFolder(tmp_path / "run")
    names = [*options, "--output", str(run.path), "--train.epochs", "1"]
    names += ["--train.warmup_epochs", "0"]
    assert train([*names, "--model.texts", "action_units"]) == 2
    assert "one text per class, or a text file of lines 'class: text'" in capsys.readouterr().err
    assert train([*names, "--model.texts", "class_names", "--data.shots", "2"]) == 0
    out = capsys.readouterr().out
    assert "8 training and 8 test clips" in out
    assert "at most 2 training clips of each class, drawn by the seed 0\n" in out
    report = json.loads((run.path / "report.json").read_text())
    assert (report["shots"], report["shots_seed"], report["training_clips"]) == (2, 0, 8)
    texts = from_pretrained(run.model).texts
    assert texts == ("Move left", "Move right", "Nach oben", "Вниз")
