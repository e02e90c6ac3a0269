"""The command data crop: what crops show, going on, what is refused, what runs get of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import yaml
from helpers.clips.face_videos import steady, write_faces_video

from peclip_fast.analyze.crop_of_run import known_crop
from peclip_fast.commands.data.crop import main
from peclip_fast.config.parser import configure
from peclip_fast.data.decoding.clip_source import open_clip_source
from peclip_fast.engine.run_folder import RunFolder
from peclip_fast.faces.crop import read_profile
from peclip_fast.faces.finder import FaceFinder, FacePlace


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    """Two classes: a face that moves, and one that is hidden for a while beside a smaller one."""
    root = tmp_path_factory.mktemp("videos")
    for split in ("train", "test"):
        for name in ("x", "y"):
            (root / split / name).mkdir(parents=True)
        write_faces_video(root / split / "x/a.mp4", steady(1), lambda t: [(30 + int(150 * t), 70)])
        write_faces_video(
            root / split / "y/b.mp4", steady(1.5), lambda t: [None if 0.5 <= t < 0.8 else (200, 90)]
        )
    return root


def options(root: Path, output: Path, *more: str) -> list[str]:
    config = output.parent / "mine.yaml"
    texts = {"x": "a face", "y": "another face"}
    path = output.parent / "texts.txt"
    path.write_text("".join(f"{name}: {text}\n" for name, text in texts.items()))
    config.write_text(
        yaml.safe_dump(
            {"data": {"dataset": "folder", "root": str(root)}, "model": {"texts": str(path)}}
        )
    )
    return [str(config), "--output", str(output), "--data.num_workers", "1", *more]


@pytest.fixture(scope="module")
def cropped(root, tmp_path_factory) -> Path:
    output = tmp_path_factory.mktemp("made") / "out"
    assert main(options(root, output)) == 0
    return output


def test_every_crop_shows_the_face_in_its_place(cropped):
    """Also while it moves, and where it is hidden the crop stays where it was."""
    clips = sorted(cropped.rglob("*.mkv"))
    assert len(clips) == 4
    finder = FaceFinder()
    for path in clips:
        source = open_clip_source(path)
        frames = source.read(range(source.num_frames))
        source.close()
        assert frames.shape == ((12 if path.name == "a.mp4.mkv" else 18), 224, 224, 3)
        places = [FacePlace.of(s[0].points) for f in frames if (s := finder.find(f))]
        assert len(places) >= 12
        middle = np.median(np.array(places), axis=0)
        assert 224 / middle[2] == pytest.approx(1.5, rel=0.08)
        assert (middle[1] - 112) / middle[2] == pytest.approx(0.1, abs=0.05)
        assert np.abs(np.array(places)[:, 0] - 112).max() < 0.12 * middle[2]


def test_the_profile_is_in_the_dataset_and_goes_into_runs(cropped, tmp_path):
    profile = read_profile(cropped / "crop.json")
    assert (profile.scale, profile.aligned, profile.seconds) == (1.5, False, 1.25)
    assert 0.85 < profile.faces < 1
    config = configure(str(cropped / "mine-cropped.yaml"))
    run = RunFolder(tmp_path)
    assert known_crop(run, config, FaceFinder()) == profile
    assert read_profile(run.crop) == profile
    assert len(list(cropped.glob("contact-sheet.png"))) == 1


def test_the_same_command_goes_on(root, cropped, capsys):
    files = {path: path.stat().st_mtime_ns for path in cropped.rglob("*.mkv")}
    gone, broken, *_ = files
    gone.unlink()
    data = broken.read_bytes()
    broken.write_bytes(data[: len(data) // 2])
    assert main(options(root, cropped)) == 0
    printed = capsys.readouterr().out
    assert "cropped now              2" in printed
    assert "cropped before           2" in printed
    assert "frames with the face     " in printed
    after = {path: path.stat().st_mtime_ns for path in cropped.rglob("*.mkv")}
    assert after.keys() == files.keys()
    assert sum(after[path] == time for path, time in files.items()) == 2


def test_a_clip_without_a_face_is_bad(root, tmp_path, capsys):
    for split in ("train", "test"):
        (tmp_path / "r" / split).mkdir(parents=True)
        for name in ("x", "y"):
            (tmp_path / "r" / split / name).symlink_to(root / split / name)
    nobody = tmp_path / "r/train/z/nobody.mp4"
    nobody.parent.mkdir()
    write_faces_video(nobody, steady(0.5), lambda time: [])
    (tmp_path / "texts.txt").write_text("x: one\ny: two\nz: three\n")
    command = options(tmp_path / "r", tmp_path / "out")
    (tmp_path / "texts.txt").write_text("x: one\ny: two\nz: three\n")
    assert main(command) == 2
    assert capsys.readouterr().err.splitlines()[-1] == f"error: {nobody}: no face is found in it"
    assert main([*command, "--data.on_bad_clip", "skip"]) == 0
    assert f"skipped: {nobody}: no face is found in it" in capsys.readouterr().out
    assert "nobody" not in (tmp_path / "out/train.csv").read_text()


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (["--side", "3"], "--side 3: expected 16 to 4096"),
        (["--quality", "0"], "--quality 0: expected 1 to 100"),
        (["--scale", "0"], "crop profile: expected a scale above 0"),
        (["--detector", "x"], "--detector x: expected blazeface, centerface or a file"),
        (["--min_face", "-1"], "--min_face -1: expected at least 0"),
    ],
)
def test_bad_options_are_one_line(root, tmp_path, capsys, more, told):
    assert main(options(root, tmp_path / "out", *more)) == 2
    assert capsys.readouterr().err.startswith(f"error: {told}")


def test_the_source_is_not_written_to(root, capsys):
    command = options(root, root.parent / "never")
    assert main([*command, "--output", str(root / "crops")]) == 2
    assert "holds the source" in capsys.readouterr().err
