"""The command on a tiny run."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from PIL import Image
from safetensors import safe_open
from tiny_runs import write_clips, write_config

from peclip_fast.embed.__main__ import main
from peclip_fast.train import main as train


@pytest.fixture(scope="module")
def run(tiny_backbone, tiny_clips, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    config = write_config(folder / "c.yaml", tiny_backbone, tiny_clips)
    assert train(["--config", str(config), "--output", str(folder / "run")]) == 0
    return folder / "run"


def test_the_files(run, tiny_clips, capsys):
    capsys.readouterr()
    assert main([str(run)]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    folder = run / "embedding"
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


def refused(capsys, *argv):
    capsys.readouterr()
    assert main(list(map(str, argv))) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    return err


def test_what_can_not_be_drawn(run, tmp_path, capsys):
    assert "no run there" in refused(capsys, tmp_path)
    output = tmp_path / "output"
    few = write_clips(tmp_path / "few", train=1, test=1)
    err = refused(capsys, run, "--data.root", few, "--output", output)
    assert "folder: 3 test clips, expected at least 4" in err
    other = write_clips(tmp_path / "other", train=1, test=2)
    for split in ("train", "test"):
        (other / split / "anger").rename(other / split / "fear")
    assert "fear" in refused(capsys, run, "--data.root", other, "--output", output)
    file = tmp_path / "file"
    file.write_text("")
    assert f"{file} is a file" in refused(capsys, run, "--output", file / "x")
    copy = tmp_path / "copy"
    shutil.copytree(run, copy)
    (copy / "metrics.csv").unlink()
    assert f"{copy / 'metrics.csv'}: no such file" in refused(capsys, copy)
    assert not output.exists()
