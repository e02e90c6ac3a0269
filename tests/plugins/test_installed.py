"""The examples of plugins, installed by pip, under the commands themselves.

Nothing of ours knows them: a method and a dataset train, are tested, explained, drawn, counted and
compared in an experiment.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from helpers.forked import Forked
from helpers.plugged import command
from helpers.tiny_runs import write_config

FOLDER = Path(__file__).parent
SECONDS = 300  # that a command may take
ROW = {"model": {"method": "motion_clip", "hidden": 8}}


@pytest.fixture(scope="module")
def packages(tmp_path_factory):
    """A folder into which pip has installed both."""
    folder = tmp_path_factory.mktemp("packages")
    sources = [
        shutil.copytree(FOLDER / plugin, folder / "sources" / plugin)  # pip builds there
        for plugin in ("motion_clip", "json_clips")
    ]
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation",
         "--target", str(folder / "installed"), *map(str, sources)],
        check=True,
    )  # fmt: skip
    return folder / "installed"


def environment(packages):
    """In which processes that start from nothing find them."""
    return {"PYTHONPATH": os.pathsep.join([str(packages), *sys.path])}


@pytest.fixture(scope="module")
def peclip_fast(packages, tmp_path_factory):
    """Runs a command where the packages are installed, and gives what it has printed."""
    folder = tmp_path_factory.mktemp("said")

    def run(*argv: object, code: int = 0) -> tuple[str, str]:
        output = folder / "output"
        output.unlink(missing_ok=True)
        forked = Forked(
            command, str(packages), [*map(str, argv)], output=output, errors=folder / "errors",
            env=environment(packages),
        )  # fmt: skip
        said = forked.communicate(SECONDS)
        assert forked.returncode == code, said
        return said

    return run


@pytest.fixture(scope="module")
def config(tiny_backbone, tiny_clips, tmp_path_factory):
    """Clips of the plugin's dataset, for the plugin's method."""
    folder = tmp_path_factory.mktemp("plugins")
    listed = {
        str(path): {"label": path.parent.name, "split": path.parts[-3]}
        for path in sorted(tiny_clips.glob("*/*/*"))
    }
    (folder / "clips.json").write_text(json.dumps(listed))
    path = write_config(folder / "c.yaml", tiny_backbone, tiny_clips, lr={"motion": 3e-2})
    options = yaml.safe_load(path.read_text())
    options["model"] = {"backbone": tiny_backbone, **ROW["model"]}
    options["data"] |= {"dataset": "json-clips", "root": str(folder)}
    path.write_text(yaml.safe_dump(options))
    return path


@pytest.fixture(scope="module")
def trained(packages, config):
    """By a command that starts from nothing."""
    folder = config.parent / "run"
    told = subprocess.run(
        [sys.executable, "-m", "peclip_fast", "train", "--config", config, "--output", folder],
        env=os.environ | environment(packages),
        check=True, stdout=subprocess.PIPE, text=True,
    ).stdout  # fmt: skip
    assert "MotionCLIP on" in told
    assert told.startswith("Clips of a JSON file\n15 training and 9 test clips of 3 classes")
    return folder


@pytest.mark.slow
def test_train_evaluate_predict(peclip_fast, trained, tiny_clips):
    report = json.loads((trained / "report.json").read_text())
    assert report["uar"] > 0.4  # chance is a third
    assert "lr_motion" in (trained / "metrics.csv").read_text().splitlines()[0]
    again = json.loads(peclip_fast("evaluate", trained, "--json")[0])
    assert again["uar"] == report["uar"]
    clip = tiny_clips / "test" / "anger" / "000"
    (found,) = json.loads(peclip_fast("predict", trained, clip, "--json")[0])
    assert found["probabilities"].keys() == {"anger", "happiness", "sadness"}


@pytest.mark.slow
def test_resume_goes_on(peclip_fast, trained, config):
    shutil.rmtree(config.parent / "copy", ignore_errors=True)
    copy = shutil.copytree(trained, config.parent / "copy")
    told, _ = peclip_fast("train", "--output", copy, "--resume")
    assert "(resumed)" in told


@pytest.mark.slow
def test_explain_and_embed_draw_it(peclip_fast, trained, tiny_clips):
    peclip_fast("explain", trained, tiny_clips / "test" / "anger" / "000")
    assert {path.suffix for path in (trained / "explain").iterdir()} == {".png", ".mp4"}
    peclip_fast("embed", trained)
    assert (trained / "embedding" / "embedding.png").stat().st_size > 1000


@pytest.mark.slow
def test_info_and_help_know_its_options(peclip_fast, config):
    found = json.loads(peclip_fast("info", "--config", config, "--json")[0])
    assert found["title"] == "MotionCLIP"
    assert found["trained"] == {"motion": 4920, "total": 4920}
    told, _ = peclip_fast("train", "--model.method", "motion_clip", "--help")
    assert "--model.hidden VALUE" in told
    assert "--train.lr.motion VALUE" in told
    assert "--model.reduction" not in told
    _, refused = peclip_fast("train", "--config", config, "--model.reduction", "4", code=2)
    assert "an option of pe_clip; the method is motion_clip" in refused


@pytest.mark.slow
def test_it_stands_in_an_experiment(peclip_fast, config, tmp_path):
    (tmp_path / "pe-clip.yaml").write_text("model: {method: pe_clip, prompt_depth: 2}\n")
    table = {
        "title": "Motion adapters against PE-CLIP",
        "recipe": [str(config)],
        "columns": {"name": "Method", "config": "Configuration"},
        "rows": [["MotionCLIP", None], ["PE-CLIP", "pe-clip.yaml"]],
    }
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(table, sort_keys=False))
    told, _ = peclip_fast("experiment", tmp_path / "mine.yaml", "--output", tmp_path / "out")
    report = (tmp_path / "out" / "mine" / "report.md").read_text()
    assert told.count("UAR") == 2
    assert "| MotionCLIP |" in report
    assert "4,920" in report
