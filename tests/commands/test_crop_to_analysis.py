"""From videos of small faces over ``data crop`` and ``train`` to ``analyze``: one crop all the way.

And what is said where a run or a video is cropped otherwise.
"""

from __future__ import annotations

import json
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from helpers.clips.face_videos import one_face, steady, write_faces_video
from helpers.tiny_runs import write_config

from peclip_fast.analyze.crop_of_run import CropWarning
from peclip_fast.analyze.pipeline.classify import WindowClassifier
from peclip_fast.analyze.pipeline.windows import TrackWindows
from peclip_fast.commands.analyze import main as analyze
from peclip_fast.commands.data.crop import main as crop
from peclip_fast.commands.train import main as train
from peclip_fast.data.decoding.clip_source import open_clip_source
from peclip_fast.faces.finder import FaceFinder, FacePlace

CLASSES = ("happiness", "sadness")


@pytest.fixture(scope="module")
def videos(tmp_path_factory) -> Path:
    """A dataset of whole videos, in which a face fills a fifth of the width."""
    root = tmp_path_factory.mktemp("videos")
    for split in ("train", "test"):
        for number, name in enumerate(CLASSES):
            folder = root / split / name
            folder.mkdir(parents=True)
            x = 40 + 180 * number
            write_faces_video(folder / "a.mp4", steady(1), lambda t, x=x: [(x, 70)])
    return root


@pytest.fixture(scope="module")
def cropped(videos, tiny_backbone, tmp_path_factory) -> Path:
    """What ``data crop`` makes of it."""
    folder = tmp_path_factory.mktemp("made")
    config = write_config(
        folder / "mine.yaml", tiny_backbone, videos, epochs=1, warmup_epochs=0, batch_size=2
    )
    assert crop([str(config), "--output", str(folder / "out")]) == 0
    return folder / "out"


@pytest.fixture(scope="module")
def run_of_crops(cropped, tmp_path_factory) -> Path:
    run = tmp_path_factory.mktemp("runs") / "crops"
    config = cropped / "mine-cropped.yaml"
    assert train(["--config", str(config), "--output", str(run)]) == 0
    return run


def analyzed(run: Path, video: Path, output: Path) -> dict:
    assert analyze([str(run), str(video), "--output", str(output), "--window", "1"]) == 0
    return json.loads((output / video.stem / "run.json").read_text())


def test_a_run_of_crops_sees_a_raw_video_as_its_training_clips(
    run_of_crops, cropped, tmp_path, capsys, monkeypatch
):
    """No warning, its profile, and faces of the size and at the place of the cropped clips'."""
    video = write_faces_video(tmp_path / "raw.mp4", steady(2), one_face)
    profile = json.loads((cropped / "crop.json").read_text())
    assert json.loads((run_of_crops / "crop.json").read_text()) == profile
    images, original = [], TrackWindows._given

    def given(self, drawn):
        images.extend(one.image for one in drawn)
        return original(self, drawn)

    monkeypatch.setattr(TrackWindows, "_given", given)
    # The model's own images are too small for a detector.
    taken = TrackWindows.__init__

    def larger(self, track, options, of_model):
        taken(self, track, options, replace(of_model, image_size=224))

    with monkeypatch.context() as patch:
        patch.setattr(TrackWindows, "__init__", larger)
        patch.setattr(WindowClassifier, "classify", lambda _, windows: [(0.5, 0.5)] * len(windows))
        with warnings.catch_warnings():
            warnings.simplefilter("error", CropWarning)
            about = analyzed(run_of_crops, video, tmp_path / "seen")
    assert {name: about["crop"][name] for name in profile} == profile
    assert (about["notes"], about["people"]) == ([], 1)
    assert "warning" not in capsys.readouterr().err
    finder = FaceFinder()
    source = open_clip_source(next(cropped.rglob("*.mkv")))
    clip = source.read(range(source.num_frames))
    source.close()

    def place(frames):
        found = [FacePlace.of(s[0].points) for f in frames if (s := finder.find(f))]
        assert len(found) >= 0.9 * len(frames)
        return np.median(np.array(found), axis=0)

    assert place(images) == pytest.approx(place(clip), abs=0.05 * 224)


def test_the_run_of_crops_classifies_it(run_of_crops, tmp_path):
    video = write_faces_video(tmp_path / "raw.mp4", steady(2), one_face)
    assert analyzed(run_of_crops, video, tmp_path / "found")["people"] == 1
    lines = (tmp_path / "found/raw/windows.csv").read_text().splitlines()
    assert len(lines) == 4
    assert all(line.split(",")[6] in CLASSES for line in lines[1:])


def test_a_run_whose_clips_show_no_faces_warns(trained_run, tmp_path):
    video = write_faces_video(tmp_path / "raw.mp4", steady(1.5), one_face)
    with pytest.warns(CropWarning, match="only 0% of its training frames show a face"):
        analyzed(trained_run, video, tmp_path / "out")


def test_a_run_of_whole_videos_says_that_a_close_crop_is_another(
    videos, cropped, tiny_backbone, tmp_path, capsys
):
    config = write_config(
        tmp_path / "raw.yaml", tiny_backbone, videos, epochs=1, warmup_epochs=0, batch_size=2
    )
    run = tmp_path / "run"
    assert train(["--config", str(config), "--output", str(run)]) == 0
    capsys.readouterr()
    video = write_faces_video(tmp_path / "raw.mp4", steady(1.5), one_face)
    assert analyzed(run, video, tmp_path / "raw")["notes"] == []
    assert "warning" not in capsys.readouterr().err
    (note,) = analyzed(run, next(cropped.rglob("*.mkv")), tmp_path / "close")["notes"]
    assert "this video is cropped closer" in note
    assert f": {note}" in capsys.readouterr().err
