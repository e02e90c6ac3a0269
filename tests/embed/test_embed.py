"""The command on a tiny run."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from helpers.tiny_runs import write_clips
from PIL import Image
from safetensors import safe_open

from peclip_fast import InputError
from peclip_fast.commands.embed import main
from peclip_fast.config.data import DataConfig
from peclip_fast.config.run import RunConfig
from peclip_fast.embed.runs import run_titles
from peclip_fast.engine.run_folder import RunFolder


def test_the_files(tiny_run, tiny_clips, capsys):
    capsys.readouterr()
    assert main([str(tiny_run)]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    folder = tiny_run / "embedding"
    names = ["curves.png", "embedding.png", "embedding.safetensors"]
    assert sorted(path.name for path in folder.iterdir()) == names
    lines = out.splitlines()
    assert sorted(lines[:3]) == [str(folder / name) for name in names]
    with safe_open(folder / "embedding.safetensors", "pt") as file:
        described = file.metadata()
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    scores = json.loads(described["silhouette"])
    assert lines[3:] == [f"{name}: silhouette {score:.3f}" for name, score in scores.items()]
    assert list(scores) == ["frozen CLIP", "trained"]
    assert json.loads(described["classes"]) == ["anger", "happiness", "sadness"]
    paths = json.loads(described["paths"])
    assert paths[0] == str(tiny_clips / "test" / "anger" / "000")
    assert len(paths) == 9
    assert tensors["labels"].tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    for name in scores:
        assert tensors[f"{name}.coordinates"].shape == (9, 2)
        norms = tensors[f"{name}.features"].norm(dim=-1)
        torch.testing.assert_close(norms, torch.ones(9), atol=1e-5, rtol=0)
    for name in names[:2]:
        with Image.open(folder / name) as picture:
            assert picture.width > 900


@pytest.fixture(scope="module")
def other(tiny_run, tiny_clips, tmp_path_factory):
    """The same run of other clips, under the same name elsewhere."""
    folder = tmp_path_factory.mktemp("other") / "run"
    shutil.copytree(tiny_run, folder, ignore=shutil.ignore_patterns("embedding"))
    clips = write_clips(folder.parent / "clips", train=1, test=2)
    (folder / "config.yaml").write_text(
        (tiny_run / "config.yaml").read_text().replace(str(tiny_clips), str(clips))
    )
    return folder


def test_several_runs(tiny_run, other, tmp_path, capsys):
    """A column each, the numbers under each one's title."""
    alone, both = tmp_path / "alone", tmp_path / "both"
    assert main([str(other), "--output", str(alone)]) == 0
    capsys.readouterr()
    named = tmp_path / "named"
    named.symlink_to(tiny_run)
    assert main([str(named), str(other), "--output", str(both)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[:2] == [str(both / "embedding.safetensors"), str(both / "embedding.png")]
    assert sorted(path.name for path in both.iterdir()) == [
        "embedding.png",
        "embedding.safetensors",
    ]
    titles = [str(named), str(other)]  # folds and names are the same
    with safe_open(both / "embedding.safetensors", "pt") as file:
        notes = file.metadata().items()
        described = {key: json.loads(value) for key, value in notes if key != "digest"}
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    assert described["classes"] == ["anger", "happiness", "sadness"]
    assert list(described["paths"]) == list(described["silhouette"]) == titles
    assert [len(paths) for paths in described["paths"].values()] == [9, 6]
    scores = [
        (f"{title}, {name}", score)
        for title, each in described["silhouette"].items()
        for name, score in each.items()
    ]
    assert lines[2:] == [f"{name}: silhouette {score:.3f}" for name, score in scores]
    with safe_open(alone / "embedding.safetensors", "pt") as file:
        for name in file.keys():  # noqa: SIM118
            assert torch.equal(file.get_tensor(name), tensors[f"{other}.{name}"])
    assert len(tensors) == 10
    sizes = [Image.open(folder / "embedding.png").size for folder in (alone, both)]
    assert sizes[1][1] > 1.3 * sizes[0][1]


def test_where_several_go_and_what_they_are_called(tmp_path):
    runs = [RunFolder(tmp_path / name / "x") for name in "ab"]
    folds = [RunConfig(data=DataConfig("dfew", fold=fold)) for fold in (1, 3)]
    assert run_titles(runs, folds) == ["fold 1", "fold 3"]
    assert run_titles(runs, folds[:1] * 2) == [str(run.path) for run in runs]
    named = [runs[0], RunFolder(tmp_path / "y")]
    assert run_titles(named, folds[:1] * 2) == ["x", "y"]
    assert run_titles(named, [folds[0], RunConfig(data=DataConfig("mafw", fold=3))]) == ["x", "y"]
    with pytest.raises(InputError, match="expected different runs, got "):
        run_titles(runs[:1] * 2, folds[:1] * 2)


def refused(capsys, *argv):
    capsys.readouterr()
    assert main(list(map(str, argv))) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    return err


def test_what_can_not_be_drawn(tiny_run, tiny_clips, tmp_path, capsys):
    assert "no run there" in refused(capsys, tmp_path)
    output = tmp_path / "output"
    few = write_clips(tmp_path / "few", train=1, test=1)
    err = refused(capsys, tiny_run, "--data.root", few, "--output", output)
    assert "folder: 3 test clips, expected at least 4" in err
    other = write_clips(tmp_path / "other", train=1, test=2)
    for split in ("train", "test"):
        (other / split / "anger").rename(other / split / "fear")
    assert "fear" in refused(capsys, tiny_run, "--data.root", other, "--output", output)
    file = tmp_path / "file"
    file.write_text("")
    assert f"{file} is a file" in refused(capsys, tiny_run, "--output", file / "x")
    relabelled = tmp_path / "relabelled"
    shutil.copytree(tiny_run, relabelled)
    (relabelled / "config.yaml").write_text(
        (tiny_run / "config.yaml").read_text().replace(str(tiny_clips), str(other))
    )
    err = refused(capsys, tiny_run, relabelled, "--output", output)
    assert f"{relabelled}: has the classes fear, happiness, sadness" in err
    assert f"; expected those of {tiny_run}" in err
    assert "expected different runs" in refused(capsys, tiny_run, tiny_run, "--output", output)
    copy = tmp_path / "copy"
    shutil.copytree(tiny_run, copy)
    (copy / "metrics.csv").unlink()
    assert f"{copy / 'metrics.csv'}: no such file" in refused(capsys, copy)
    assert not output.exists()
