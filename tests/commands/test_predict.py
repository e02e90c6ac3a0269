"""Predictions of single clips."""

from __future__ import annotations

import csv
import json
import re
import shutil

import numpy as np
import pytest
from helpers.clips.face_videos import frame_at, one_face, steady, write_faces_video

from peclip_fast.commands.predict import main
from peclip_fast.demo.render import write_video
from peclip_fast.faces.crop import CropProfile, read_profile, write_profile


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


class TestCrops:
    """Clips that don't show a face as the training clips do are named, with what finds faces."""

    @pytest.fixture
    def run(self, tiny_run, tmp_path):
        run = shutil.copytree(tiny_run, tmp_path / "run")
        write_profile(run / "crop.json", CropProfile(1.5, 0.0, -0.1))
        return run

    def test_a_crop_is_not_named_and_a_whole_frame_is(self, run, tmp_path, capsys):
        good, wide, nobody = (tmp_path / f"{name}.mp4" for name in ("good", "wide", "nobody"))
        frames = [frame_at([(130, 70)], k) for k in range(6)]
        write_video(good, np.stack([frame[70:166, 130:226] for frame in frames]))
        write_faces_video(wide, steady(0.5), one_face)
        write_faces_video(nobody, steady(0.5), lambda time: [])
        assert main([str(run), str(good)]) == 0
        assert capsys.readouterr().err == ""
        assert main([str(run), str(good), str(wide), str(nobody)]) == 0
        printed = capsys.readouterr()
        assert printed.err.splitlines() == [
            f"warning: {wide}: looks uncropped: the face is {times(printed.err)} times as small",
            f"warning: {nobody}: looks uncropped: no face is found in it",
            f"warning: `peclip-fast analyze {run} CLIP` finds faces and crops them",
        ]
        assert len(printed.out.splitlines()) == 4

    def test_a_model_of_other_things_is_not_asked_for_faces(self, tiny_run, tiny_clips, capsys):
        """tiny_run's clips show colours, which training has noted."""
        assert read_profile(tiny_run / "crop.json").faces == 0
        assert main([str(tiny_run), str(tiny_clips / "test/anger/000")]) == 0
        assert capsys.readouterr().err == ""

    def test_without_the_extra_nothing_is_said(self, run, tmp_path, capsys, monkeypatch):
        monkeypatch.setattr("peclip_fast.analyze.crop_of_run.find_spec", lambda name: None)
        nobody = write_faces_video(tmp_path / "nobody.mp4", steady(0.5), lambda time: [])
        assert main([str(run), str(nobody)]) == 0
        assert capsys.readouterr().err == ""


def times(text: str) -> str:
    return re.search(r"is (\d\.\d) times", text)[1]
