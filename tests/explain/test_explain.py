"""The command on tiny runs."""

from __future__ import annotations

import shutil

import av
import pytest
from helpers.tiny_runs import write_config
from PIL import Image

from peclip_fast.commands.explain import main
from peclip_fast.commands.train import main as train


@pytest.fixture(scope="module")
def run(tiny_backbone, tiny_clips, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    config = write_config(folder / "c.yaml", tiny_backbone, tiny_clips)
    assert train(["--config", str(config), "--output", str(folder / "run")]) == 0
    return folder / "run"


@pytest.fixture(scope="module")
def without_tda(tiny_backbone, tiny_clips, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    config = write_config(folder / "c.yaml", tiny_backbone, tiny_clips, epochs=1, warmup_epochs=0)
    options = ["--model.temporal", "false", "--output", str(folder / "run")]
    assert train(["--config", str(config), *options]) == 0
    return folder / "run"


def film(path):
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def test_pictures_of_a_folder_of_frames(run, tiny_clips, capsys):
    capsys.readouterr()
    assert main([str(run), str(tiny_clips / "test" / "anger" / "001")]) == 0
    out, err = capsys.readouterr()
    png, mp4 = run / "explain" / "001.png", run / "explain" / "001.mp4"
    assert out == f"{png}\n{mp4}\n"
    assert err == ""
    assert sorted(p.name for p in (run / "explain").iterdir()) == ["001.mp4", "001.png"]
    with Image.open(png) as picture:
        assert picture.width > 600
        assert picture.height > 1000
    pictures = film(mp4)
    assert len(pictures) == 2  # data.frames
    assert (pictures[0] != pictures[1]).any()


def test_a_video_in_another_folder(run, assets, tmp_path):
    video = str(assets / "videos" / "woman_sad_640x360_h264.mp4")
    options = ["--output", str(tmp_path / "new"), "--data.frames", "5"]
    assert main([str(run), video, *options]) == 0
    assert len(film(tmp_path / "new" / "woman_sad_640x360_h264.mp4.mp4")) == 5


def test_clips_of_one_name_and_two_endings(run, assets, tmp_path):
    """Both, and the folder of that name, get pictures of their own."""
    for suffix in (".mp4", ".mkv"):
        shutil.copy(assets / "videos" / "woman_sad_640x360_h264.mp4", tmp_path / f"1000{suffix}")
        assert main([str(run), str(tmp_path / f"1000{suffix}"), "--output", str(tmp_path)]) == 0
    names = ["1000.mkv", "1000.mkv.mp4", "1000.mkv.png", "1000.mp4", "1000.mp4.mp4", "1000.mp4.png"]
    assert sorted(path.name for path in tmp_path.iterdir()) == names


def test_a_run_without_tda_has_no_curve(without_tda, tiny_clips, tmp_path, run, capsys):
    clip = str(tiny_clips / "test" / "anger" / "001")
    for folder, name in ((run, "with"), (without_tda, "without")):
        assert main([str(folder), clip, "--output", str(tmp_path / name)]) == 0
    assert "no curve of the TDA's scale: this run's model has none" in capsys.readouterr().err
    heights = [Image.open(tmp_path / name / "001.png").height for name in ("with", "without")]
    assert heights[0] > heights[1]


def refused(capsys, *argv):
    capsys.readouterr()
    assert main(list(map(str, argv))) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    return err


def test_what_can_not_be_explained(run, tiny_clips, tmp_path, capsys):
    clip = tiny_clips / "test" / "anger" / "001"
    assert "no run there" in refused(capsys, tmp_path, clip)
    unfinished = tmp_path / "unfinished"
    unfinished.mkdir()
    shutil.copy(run / "config.yaml", unfinished)
    assert "its training has not ended" in refused(capsys, unfinished, clip)
    bad = tmp_path / "bad.mp4"
    assert refused(capsys, run, bad).startswith(f"error: {bad}: ")
    bad.write_text("no video")
    output = tmp_path / "output"
    assert refused(capsys, run, bad, "--output", output).startswith(f"error: {bad}: ")
    assert not output.exists()
    assert f"{bad} is a file" in refused(capsys, run, clip, "--output", bad / "x")
    assert "tensors differ" in refused(capsys, run, clip, "--model.reduction", 8)
    assert "CLIP" in refused(capsys, run)
