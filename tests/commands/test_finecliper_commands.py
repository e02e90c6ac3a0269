"""FineCLIPER by the same commands: trained, resumed, evaluated, used."""

from __future__ import annotations

import json

import numpy as np
import pytest
from helpers.tiny_runs import SIZE, write_config
from safetensors.torch import load_file

from peclip_fast.commands.embed import main as embed
from peclip_fast.commands.evaluate import main as evaluate
from peclip_fast.commands.explain import main as explain
from peclip_fast.commands.info import main as info
from peclip_fast.commands.predict import main as predict
from peclip_fast.commands.train import main as train
from peclip_fast.data.cues.descriptions import write_descriptions
from peclip_fast.data.cues.store import Cues, IndexRow, cue_file, write_cues, write_index

METHOD = ["--model.method", "finecliper", "--model.video_hidden", "8"]
METHOD += ["--model.text_hidden", "8", "--train.optimizer", "sgd"]


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
    assert description["config"]["video_hidden"] == 8
    assert report["parameters"]["trained"] > 0
    assert evaluate([str(run), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["war"] == report["war"]


def test_predict(run, tiny_clips, capsys):
    clip = next((tiny_clips / "test" / "anger").iterdir())
    assert predict([str(run), str(clip), "--json"]) == 0
    (found,) = json.loads(capsys.readouterr().out)
    assert sum(found["probabilities"].values()) == pytest.approx(1, abs=1e-4)


def test_info(capsys):
    assert info(["--config", "dfew", "finecliper/video", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["trained"]["total"] == pytest.approx(13e6, rel=0.05)
    assert found["method"] == "finecliper"


BRANCHES = ("parsing", "landmarks", "descriptions")
UNMIXED = ["--data.mix.mixup", "0", "--data.mix.fmix", "0"]


def switched_on(*branches):
    return [f"--model.{branch}=true" for branch in branches]


@pytest.fixture(scope="module")
def extras(tiny_clips, tmp_path_factory):
    """Options of cues and descriptions of the tiny clips, named as on another disk."""
    folder = tmp_path_factory.mktemp("extras")
    rng = np.random.default_rng()
    rows, texts = [], {}
    for clip in sorted(tiny_clips.glob("*/*/*")):
        name = f"elsewhere/{clip.relative_to(tiny_clips).as_posix()}"
        cues = Cues(rng.uniform(0, SIZE, (4, 468, 2)), (SIZE, SIZE))
        write_cues(folder / cue_file(name), cues)
        rows.append(IndexRow(name, cue_file(name), 4, 4))
        texts[name] = "The brows rise and the jaw drops. " * int(rng.integers(1, 30))
    write_index(folder, rows, {})
    write_descriptions(folder / "texts.jsonl", texts)
    return ["--data.cues", str(folder), "--data.descriptions", str(folder / "texts.jsonl")]


@pytest.fixture(scope="module")
def whole_run(tiny_backbone, tiny_clips, extras, tmp_path_factory):
    """A run with all branches."""
    folder = tmp_path_factory.mktemp("fine_cliper")
    config = write_config(folder / "c.yaml", tiny_backbone, tiny_clips)
    options = [*METHOD, *switched_on(*BRANCHES), *UNMIXED, *extras]
    assert train(["--config", str(config), *options, "--output", str(folder / "run")]) == 0
    return folder / "run"


def test_all_branches_train_and_are_tested(whole_run, capsys):
    report = json.loads((whole_run / "report.json").read_text())
    tensors = load_file(whole_run / "model" / "model.safetensors")
    for branch in BRANCHES:  # what adds nothing at first has learned something
        ups = [t for n, t in tensors.items() if n.startswith(f"{branch}.") and "up.weight" in n]
        assert ups
        assert all(up.any() for up in ups), branch
    assert evaluate([str(whole_run), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["war"] == report["war"]


def test_embed_and_explain_see_all_branches(whole_run, tiny_clips, capsys):
    assert embed([str(whole_run)]) == 0
    assert "frozen CLIP: silhouette" in capsys.readouterr().out
    found = load_file(whole_run / "embedding" / "embedding.safetensors")
    frozen, trained = (found[f"{name}.features"] for name in ("frozen CLIP", "trained"))
    assert frozen.shape == trained.shape == (9, 32)
    assert (frozen - trained).abs().max() > 1e-4
    clip = next((tiny_clips / "test" / "anger").iterdir())
    assert explain([str(whole_run), str(clip)]) == 0
    for suffix in (".png", ".mp4"):
        assert (whole_run / "explain" / f"{clip.name}{suffix}").stat().st_size > 1000


def test_predict_takes_cues_and_words_of_known_clips(whole_run, tiny_clips, tmp_path, capsys):
    clip = next((tiny_clips / "test" / "anger").iterdir())
    assert predict([str(whole_run), str(clip), "--json"]) == 0
    (found,) = json.loads(capsys.readouterr().out)
    assert sum(found["probabilities"].values()) == pytest.approx(1, abs=1e-4)
    assert predict([str(whole_run), str(tmp_path)]) == 2
    assert "no name here is that of a clip" in capsys.readouterr().err


def test_descriptions_train_without_any_image(extras, tiny_backbone, tiny_clips, tmp_path, capsys):
    config = write_config(tmp_path / "c.yaml", tiny_backbone, tiny_clips)
    options = [*METHOD, *switched_on("descriptions"), *UNMIXED, *extras]
    options += ["--model.frames=false", "--output", str(tmp_path / "run")]
    assert train(["--config", str(config), *options]) == 0
    tensors = load_file(tmp_path / "run" / "model" / "model.safetensors")
    assert {name.split(".")[0] for name in tensors} == {"positive", "negative", "descriptions"}
    assert tensors["descriptions.0.up.weight"].any()
    clip = next((tiny_clips / "test" / "anger").iterdir())
    assert explain([str(tmp_path / "run"), str(clip)]) == 2
    assert "takes models that see the frames; this one sees desc" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("branches", "told"),
    [
        (["parsing"], "data.cues: expected the folder"),
        (["landmarks"], "data.cues: expected the folder"),
        (["descriptions"], "data.descriptions: expected the file"),
    ],
)
def test_branches_want_what_they_see(branches, told, tiny_backbone, tiny_clips, tmp_path, capsys):
    config = write_config(tmp_path / "c.yaml", tiny_backbone, tiny_clips)
    options = [*METHOD, *switched_on(*branches), "--output", str(tmp_path / "run")]
    assert train(["--config", str(config), *options]) == 2
    assert told in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_texts_cannot_be_mixed(extras, tiny_backbone, tiny_clips, tmp_path, capsys):
    config = write_config(tmp_path / "c.yaml", tiny_backbone, tiny_clips)
    options = [*METHOD, *switched_on("descriptions"), *extras, "--output", str(tmp_path / "run")]
    assert train(["--config", str(config), *options]) == 2
    assert "data.mix: expected mixup 0 and fmix 0" in capsys.readouterr().err
