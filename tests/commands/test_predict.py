"""Predictions of single clips."""

from __future__ import annotations

import csv
import json

import pytest

from peclip_fast.commands.predict import main


def test_json_agrees_with_the_evaluation(tiny_run, capsys):
    with (tiny_run / "predictions.csv").open() as file:
        rows = list(csv.DictReader(file))
    capsys.readouterr()
    assert main([str(tiny_run), *(row["path"] for row in rows), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [entry["path"] for entry in found] == [row["path"] for row in rows]
    for entry, row in zip(found, rows, strict=True):
        assert entry["prediction"] == row["prediction"]
        assert sum(entry["probabilities"].values()) == pytest.approx(1, abs=1e-5)
        for name, probability in entry["probabilities"].items():
            assert probability == pytest.approx(float(row[name]), abs=1e-5)


def test_table(tiny_run, tiny_clips, capsys):
    clip = str(tiny_clips / "test" / "anger" / "000")
    assert main([str(tiny_run), clip]) == 0
    heads, line = capsys.readouterr().out.splitlines()
    assert heads.split() == ["clip", "prediction", "anger", "happiness", "sadness"]
    assert line.split()[0] == clip
    assert len(line.split()) == 5


def test_a_real_video(tiny_run, assets, capsys):
    video = str(assets / "videos" / "single_face_640x360_h264.mp4")
    assert main([str(tiny_run), video, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["path"] == video


@pytest.mark.parametrize("kind", ["text", "truncated", "missing", "empty folder"])
def test_a_bad_clip_is_named_alone(tiny_run, tiny_clips, assets, tmp_path, capsys, kind):
    bad = tmp_path / "bad.mp4"
    if kind == "text":
        bad.write_text("hello")
    elif kind == "truncated":
        video = (assets / "videos" / "single_face_640x360_h264.mp4").read_bytes()
        bad.write_bytes(video[: len(video) // 2])
    elif kind == "empty folder":
        bad.mkdir()
    capsys.readouterr()
    assert main([str(tiny_run), str(tiny_clips / "test" / "anger" / "000"), str(bad)]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"error: {bad}")
    assert err.count("\n") == 1


def test_a_model_of_other_sizes_is_refused(tiny_run, tiny_clips, capsys):
    clip = str(tiny_clips / "test" / "anger" / "000")
    assert main([str(tiny_run), clip, "--model.reduction", "8"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "tensors differ" in err
    assert err.count("\n") == 1
