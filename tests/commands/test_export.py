"""Exported files by the commands, and by a script that doesn't know this package."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from peclip_fast.commands.export import main as export
from peclip_fast.commands.predict import main as predict

SCRIPT = Path(__file__).parents[2] / "docs" / "run_onnx.py"


def probabilities(capsys, path, *clips):
    capsys.readouterr()
    assert predict([str(path), *map(str, clips), "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    return [row["prediction"] for row in rows], torch.tensor(
        [list(row["probabilities"].values()) for row in rows]
    )


def test_the_same_by_predict_and_by_a_script(tiny_run, tiny_clips, assets, tmp_path, capsys):
    pytest.importorskip("onnxscript")
    path = tmp_path / "model.onnx"
    assert export([str(tiny_run), "--format", "onnx", "--output", str(path)]) == 0
    said = capsys.readouterr().out
    assert f"wrote {path}" in said
    assert "over 4 random and 8 real clips" in said
    video = assets / "videos" / "single_face_640x360_h264.mp4"
    clips = [*sorted((tiny_clips / "test").glob("*/*"))[:9], video]
    named, expected = probabilities(capsys, tiny_run, *clips, "--train.precision", "fp32")
    found_named, found = probabilities(capsys, path, *clips)
    assert found_named == named
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
    ended = subprocess.run(
        [sys.executable, str(SCRIPT), str(path), str(video)],
        capture_output=True, text=True, check=True, cwd=tmp_path,
    )  # fmt: skip
    by_script = torch.tensor(list(eval(ended.stdout, {}).values()))
    # Pillow rounds where our resizing doesn't.
    torch.testing.assert_close(by_script, expected[-1], rtol=0, atol=0.01)


def test_without_the_clips_of_the_run(tiny_run, tmp_path, capsys):
    argv = [str(tiny_run), "--format", "torch", "--output", str(tmp_path / "m.pt2")]
    assert export([*argv, "--data.root", str(tmp_path)]) == 0
    out, err = capsys.readouterr()
    assert "over 4 random and 0 real clips" in out
    assert err.startswith("the run's test clips aren't here (")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--format", "onx"], r"--format onx: expected one of onnx, torch, openvino; .*onnx"),
        (["--output", "m.pt"], r"--output m\.pt: expected a name that ends in \.onnx"),
        (["--output", "absent/m.onnx"], r"absent"),
    ],
)
def test_wrong_options(tiny_run, capsys, tmp_path, monkeypatch, options, message):
    monkeypatch.chdir(tmp_path)
    capsys.readouterr()
    if "absent" in options[-1]:
        (tmp_path / "absent").write_text("a file")
    assert export([str(tiny_run), *options]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert re.search(message, err)


def test_a_file_of_another_program(tmp_path, capsys):
    onnx = pytest.importorskip("onnx")
    value = onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1])
    node = onnx.helper.make_node("Identity", ["x"], ["y"])
    out = onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [1])
    model = onnx.helper.make_model(onnx.helper.make_graph([node], "g", [value], [out]))
    model.ir_version = 10
    path = tmp_path / "other.onnx"
    path.write_bytes(model.SerializeToString())
    assert predict([str(path), "clip.mp4"]) == 2
    assert "not written by `peclip-fast export`" in capsys.readouterr().err
