"""The command: tables, going on, bad files among good ones, streams, what it refuses."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from helpers.clips.face_videos import one_face, steady, write_faces_video

from peclip_fast.analyze import batch
from peclip_fast.analyze.tables import FRAMES, TRACKS, WINDOWS
from peclip_fast.commands.analyze import main

OF_BOX = ["FaceRectX", "FaceRectY", "FaceRectWidth", "FaceRectHeight"]
pytestmark = pytest.mark.filterwarnings("ignore::peclip_fast.analyze.crop_of_run.CropWarning")


@pytest.fixture(scope="module")
def videos(tmp_path_factory) -> Path:
    """Two with a face, one without, one that is none."""
    folder = tmp_path_factory.mktemp("videos")
    write_faces_video(folder / "a.mp4", steady(2), one_face)
    write_faces_video(folder / "b.mkv", steady(1.5), one_face)
    write_faces_video(folder / "nobody.mp4", steady(1), lambda time: [])
    (folder / "broken.mp4").write_bytes(b"no video" * 100)
    return folder


def options(run: Path, output: Path, *sources: object, window: str = "1") -> list[str]:
    return [str(run), *map(str, sources), "--output", str(output), "--window", window,
            "--stride", "0.5"]  # fmt: skip


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def values(path: Path) -> list[dict[str, object]]:
    """A table's rows with their probabilities as numbers."""
    return [
        {key: float(cell) if key[:2] == "p_" and cell else cell for key, cell in row.items()}
        for row in rows(path)
    ]


def alike(table: list[dict[str, object]]) -> list[dict[str, object]]:
    """What equals these rows to the rounding of other batches."""
    return [
        {key: pytest.approx(cell, abs=1e-5) if isinstance(cell, float) else cell
         for key, cell in row.items()}
        for row in table
    ]  # fmt: skip


def test_the_tables_and_what_is_printed(tiny_run, videos, tmp_path, capsys):
    assert main(options(tiny_run, tmp_path, videos / "a.mp4", videos / "nobody.mp4")) == 0
    printed = capsys.readouterr()
    assert f"{videos / 'nobody.mp4'}: no face found" in printed.out
    assert "licence of the weights: Apache-2.0 (Google)" in printed.err
    about = json.loads((tmp_path / "a" / "run.json").read_text())
    classes = about["classes"]
    assert about["source"] == str(videos / "a.mp4")
    assert (about["cuts"], about["speech"]) == ([], None)
    assert about["video"] == {
        "width": 400, "height": 240, "frames": 24, "start": 0.0, "duration": 2.0,
    }  # fmt: skip
    assert {"model", "crop", "detector", "window", "stride", "versions"} < about.keys()
    of_classes = ["prediction", *(f"p_{name}" for name in classes)]
    span = ["start", "end", "first_frame", "last_frame"]
    frames = rows(tmp_path / "a" / FRAMES)
    assert list(frames[0]) == ["frame", "timestamp", "track", "success", *OF_BOX, "FaceScore",
                               *of_classes]  # fmt: skip
    assert len(frames) == 24
    for row in frames:
        probabilities = [float(row[f"p_{name}"]) for name in classes]
        assert sum(probabilities) == pytest.approx(1, abs=1e-5)
        assert row["prediction"] == classes[probabilities.index(max(probabilities))]
        assert (row["track"], row["success"]) == ("1", "1")
    assert list(rows(tmp_path / "a" / WINDOWS)[0]) == ["track", "window", *span, *of_classes]
    (track,) = rows(tmp_path / "a" / TRACKS)
    assert list(track) == ["track", *span, "frames", "windows", *of_classes]
    assert (track["frames"], track["windows"]) == ("24", "3")
    nobody = rows(tmp_path / "nobody" / FRAMES)
    assert [row["success"] for row in nobody] == ["0"] * 12
    assert {value for row in nobody for key, value in row.items()
            if key not in ("frame", "timestamp", "success")} == {""}  # fmt: skip
    assert rows(tmp_path / "nobody" / TRACKS) == []


def test_a_bad_file_among_many_is_named_and_skipped(tiny_run, videos, tmp_path, capsys):
    assert main(options(tiny_run, tmp_path, videos, videos / "gone.mp4")) == 1
    printed = capsys.readouterr()
    assert f"skipped: {videos / 'broken.mp4'}: " in printed.err
    assert f"skipped: {videos / 'gone.mp4'}: " in printed.err
    done = sorted(path.parent.name for path in tmp_path.glob("*/run.json"))
    assert done == ["a", "b", "nobody"]
    assert main(options(tiny_run, tmp_path / "x", videos / "broken.mp4")) == 2
    assert capsys.readouterr().err.splitlines()[-1].startswith(f"error: {videos / 'broken.mp4'}: ")


def test_many_at_once_are_as_one_by_one(tiny_run, videos, tmp_path):
    names = ["a.mp4", "b.mkv"]
    assert main(options(tiny_run, tmp_path / "all", *(videos / name for name in names))) == 0
    for name in names:
        assert main(options(tiny_run, tmp_path / "one", videos / name)) == 0
        one, all_ = (tmp_path / way / Path(name).stem for way in ("one", "all"))
        for table in (FRAMES, WINDOWS, TRACKS):
            assert values(one / table) == alike(values(all_ / table)), table


def test_what_is_finished_is_kept_and_what_isnt_is_made(tiny_run, videos, tmp_path, capsys):
    command = options(tiny_run, tmp_path, videos / "a.mp4", videos / "b.mkv")
    assert main(command) == 0
    tables = [tmp_path / name / table for name in "ab" for table in (FRAMES, WINDOWS, TRACKS)]
    before = {table: alike(values(table)) for table in tables}
    (tmp_path / "b" / "run.json").unlink()  # as a kill leaves it, with half a table
    (tmp_path / "b" / FRAMES).write_bytes((tmp_path / "b" / FRAMES).read_bytes()[:200])
    stamp = (tmp_path / "a" / FRAMES).stat().st_mtime_ns
    capsys.readouterr()
    assert main(command) == 0
    assert capsys.readouterr().out.count("(kept)") == 1
    assert {table: values(table) for table in tables} == before
    assert (tmp_path / "a" / FRAMES).stat().st_mtime_ns == stamp
    assert main([*command, "--smooth", "2"]) == 2
    assert "holds an analysis with smooth 0.0, not 2.0" in capsys.readouterr().err


def test_another_video_under_the_same_name_is_analyzed_anew(tiny_run, tmp_path, capsys):
    video = write_faces_video(tmp_path / "v.mp4", steady(1), one_face)
    command = [*options(tiny_run, tmp_path / "out", video), "--formats", "jsonl"]
    assert main(command) == 0
    picture = tmp_path / "out" / "v" / "timeline.png"
    before = picture.read_bytes()
    write_faces_video(tmp_path / "v.mp4", steady(1.5), one_face)
    assert main(command) == 0
    assert len(rows(tmp_path / "out" / "v" / FRAMES)) == 18
    assert len((tmp_path / "out" / "v" / "frames.jsonl").read_text().splitlines()) == 18
    assert picture.read_bytes() != before


def test_sources_of_one_name_get_folders_of_their_own(tiny_run, tmp_path, capsys):
    paths = []
    for name, seconds in (("x/v.mp4", 1.0), ("y/v.mp4", 1.5), ("x/v.mkv", 0.5)):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        paths.append(write_faces_video(tmp_path / name, steady(seconds), one_face))
    command = options(tiny_run, tmp_path / "out", *paths)
    assert main(command) == 0
    found = {
        json.loads(path.read_text())["source"]: path.parent
        for path in tmp_path.glob("out/*/run.json")
    }
    assert set(found) == {str(path) for path in paths}
    capsys.readouterr()
    assert main(command) == 0
    assert capsys.readouterr().out.count("(kept)") == 3


@pytest.mark.slow
def test_killed_in_the_middle_the_same_command_goes_on(tiny_run, tmp_path):
    """Rows are whole wherever it is killed, and the end is the same."""
    short = write_faces_video(tmp_path / "a.mp4", steady(1), one_face)
    long = write_faces_video(tmp_path / "b.mp4", steady(25), one_face)
    command = options(tiny_run, tmp_path / "out", short, long)
    process = subprocess.Popen(
        [sys.executable, "-m", "peclip_fast", "analyze", *command],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    table = tmp_path / "out" / "b" / FRAMES
    while process.poll() is None and (not table.exists() or table.stat().st_size < 5000):
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    text = table.read_text()
    assert text.endswith("\n")
    assert len({line.count(",") for line in text.splitlines()}) == 1
    assert not (table.parent / "run.json").exists()
    before = alike(values(table))
    assert main(command) == 0
    assert len(rows(tmp_path / "out" / "a" / FRAMES)) == 12
    assert values(table)[: len(before)] == before
    assert len(rows(table)) == 300


def test_a_stream_of_standard_input(tiny_run, videos, tmp_path, monkeypatch, capsys):
    assert main(options(tiny_run, tmp_path / "file", videos / "b.mkv")) == 0
    with open(videos / "b.mkv", "rb") as file:
        monkeypatch.setattr(sys, "stdin", type("Input", (), {"buffer": file}))
        assert main(options(tiny_run, tmp_path, "-")) == 0
    stream, file = tmp_path / "standard-input", tmp_path / "file" / "b"
    assert values(stream / FRAMES) == alike(values(file / FRAMES))


def test_a_live_stream_drops_the_oldest_windows_and_says_so(
    tiny_run, tmp_path, monkeypatch, capsys
):
    """A model that is slow until a window is dropped; frames don't wait for it."""
    video = write_faces_video(tmp_path / "v.mp4", steady(6), one_face)
    monkeypatch.setattr(batch.VideoSource, "is_live", True)
    monkeypatch.setattr(batch, "_MOST_WAITING", 1)
    released = threading.Event()
    original = batch.Analyzer.session

    def session(self, given, queue):
        classify = self.classifier.classify

        def slow(windows):
            assert released.wait(60)
            return classify(windows)

        self.classifier.classify = slow
        return original(self, given, queue)

    put = batch.LiveQueue.put

    def noted(self, window, deliver):
        put(self, window, deliver)
        if self.dropped:
            released.set()

    monkeypatch.setattr(batch.LiveQueue, "put", noted)
    monkeypatch.setattr(batch.Analyzer, "session", session)
    monkeypatch.setattr("peclip_fast.analyze.live._WAITING", 1000)
    assert main(options(tiny_run, tmp_path / "out", video, window="0.5")) == 0
    printed = capsys.readouterr()
    about = json.loads((tmp_path / "out" / "v" / "run.json").read_text())
    assert about["dropped_windows"] > 0
    assert f"dropped {about['dropped_windows']} windows and 0 frames" in printed.err
    windows = rows(tmp_path / "out" / "v" / WINDOWS)
    assert len(windows) + about["dropped_windows"] >= 11
    assert printed.out.count(" s  face 1  ") == len(windows)
    assert len(rows(tmp_path / "out" / "v" / FRAMES)) == 72


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (["--window", "0"], "window: expected more than 0, got 0"),
        (["--stride", "-1"], "stride: expected more than 0, got -1"),
        (["--every", "0"], "every: expected at least 1, got 0"),
        (["--from", "3", "--to", "2"], "--to 2: expected more than --from 3"),
        (["--from", "-1"], "--from -1: expected seconds"),
        (["--max_faces", "0"], "max_faces: expected at least 1, got 0"),
        (["--detector", "yolo"], "--detector yolo: expected blazeface, centerface or a file"),
        (["--windw", "1"], "unknown option --windw; did you mean --window?"),
    ],
)
def test_bad_options_are_one_line(tiny_run, videos, tmp_path, capsys, more, told):
    assert main([*options(tiny_run, tmp_path / "o", videos / "a.mp4"), *more]) == 2
    error = capsys.readouterr().err.splitlines()
    assert error[-1].startswith(f"error: {told}")
    assert not (tmp_path / "o").exists()


def test_folders_and_patterns_without_a_video_are_refused(tiny_run, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    for source, told in ((tmp_path / "empty", "holds no clip"), (tmp_path / "*.mp4", "no file")):
        assert main(options(tiny_run, tmp_path / "o", source)) == 2
        assert str(source) in (error := capsys.readouterr().err.splitlines()[-1])
        assert told in error or "expected" in error
    assert os.listdir(tmp_path) == ["empty"]


def test_the_video_of_what_can_not_be_read_again_is_refused_at_once(tiny_run, tmp_path, capsys):
    assert main([*options(tiny_run, tmp_path / "o", "camera:0"), "--video"]) == 2
    assert "--video: camera:0 is no file" in capsys.readouterr().err.splitlines()[-1]
    assert not (tmp_path / "o").exists()


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("camera:x", "camera:x: expected camera:0, camera:1, ..."),
        ("camera:99", "camera:99: can't be opened: "),
        ("rtsp://127.0.0.1:9/x", "rtsp://127.0.0.1:9/x: can't be opened: "),
    ],
)
def test_a_camera_or_stream_that_is_not_there_is_named(tiny_run, tmp_path, capsys, source, told):
    assert main(options(tiny_run, tmp_path, source)) == 2
    assert capsys.readouterr().err.splitlines()[-1].startswith(f"error: {told}")
