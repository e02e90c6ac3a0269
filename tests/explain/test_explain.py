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
def without_tda(tiny_backbone, tiny_clips, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    config = write_config(folder / "c.yaml", tiny_backbone, tiny_clips, epochs=1, warmup_epochs=0)
    options = ["--model.temporal", "false", "--output", str(folder / "run")]
    assert train(["--config", str(config), *options]) == 0
    return folder / "run"


def film(path):
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def test_pictures_of_a_folder_of_frames(tiny_run, tiny_clips, capsys):
    capsys.readouterr()
    assert main([str(tiny_run), str(tiny_clips / "test" / "anger" / "001")]) == 0
    out, err = capsys.readouterr()
    png, mp4 = tiny_run / "explain" / "001.png", tiny_run / "explain" / "001.mp4"
    assert out == f"{png}\n{mp4}\n"
    assert err == ""
    assert sorted(p.name for p in (tiny_run / "explain").iterdir()) == ["001.mp4", "001.png"]
    with Image.open(png) as picture:
        assert picture.width > 600
        assert picture.height > 1000
    pictures = film(mp4)
    assert len(pictures) == 2  # data.frames
    assert (pictures[0] != pictures[1]).any()


def test_a_video_in_another_folder(tiny_run, assets, tmp_path):
    video = str(assets / "videos" / "woman_sad_640x360_h264.mp4")
    options = ["--output", str(tmp_path / "new"), "--data.frames", "5"]
    assert main([str(tiny_run), video, *options]) == 0
    assert len(film(tmp_path / "new" / "woman_sad_640x360_h264.mp4.mp4")) == 5


def test_clips_of_one_name_and_two_endings(tiny_run, assets, tmp_path):
    """Both, and the folder of that name, get pictures of their own."""
    for suffix in (".mp4", ".mkv"):
        clip = tmp_path / f"1000{suffix}"
        shutil.copy(assets / "videos" / "woman_sad_640x360_h264.mp4", clip)
        assert main([str(tiny_run), str(clip), "--output", str(tmp_path)]) == 0
    names = ["1000.mkv", "1000.mkv.mp4", "1000.mkv.png", "1000.mp4", "1000.mp4.mp4", "1000.mp4.png"]
    assert sorted(path.name for path in tmp_path.iterdir()) == names


def test_a_run_without_tda_has_no_curve(without_tda, tiny_clips, tmp_path, tiny_run, capsys):
    clip = str(tiny_clips / "test" / "anger" / "001")
    for folder, name in ((tiny_run, "with"), (without_tda, "without")):
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


def test_what_can_not_be_explained(tiny_run, tiny_clips, tmp_path, capsys):
    clip = tiny_clips / "test" / "anger" / "001"
    assert "no run there" in refused(capsys, tmp_path, clip)
    unfinished = tmp_path / "unfinished"
    unfinished.mkdir()
    shutil.copy(tiny_run / "config.yaml", unfinished)
    assert "its training has not ended" in refused(capsys, unfinished, clip)
    bad = tmp_path / "bad.mp4"
    assert refused(capsys, tiny_run, bad).startswith(f"error: {bad}: ")
    bad.write_text("no video")
    output = tmp_path / "output"
    assert refused(capsys, tiny_run, bad, "--output", output).startswith(f"error: {bad}: ")
    assert not output.exists()
    assert f"{bad} is a file" in refused(capsys, tiny_run, clip, "--output", bad / "x")
    assert "tensors differ" in refused(capsys, tiny_run, clip, "--model.reduction", 8)
    assert "CLIP" in refused(capsys, tiny_run)
