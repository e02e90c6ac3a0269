"""What is missing is made, what is there stays, and what is half there is made anew."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.analyses import an_analysis, write_folder
from helpers.clips.timed_video import write_timed

from peclip_fast.analyze.outputs.make import Wanted, clear_outputs, make_outputs
from peclip_fast.errors import InputError
from peclip_fast.files import PARTIAL

ALL = Wanted(("jsonl", "boris", "eaf"), video=True)
TABLES = {"frames.csv", "windows.csv", "tracks.csv", "run.json"}
MADE = {"timeline.png", "report.html", "annotated.mp4", "frames.jsonl", "boris.tsv", "elan.eaf"}


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("video") / "talk.mp4"
    write_timed(path, [9000 * n for n in range(60)], size=(128, 96))
    return path


@pytest.fixture
def folder(tmp_path: Path, video: Path) -> Path:
    return write_folder(tmp_path / "talk", an_analysis(source=str(video)))


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_everything_once(folder):
    assert {path.name for path in make_outputs(folder, ALL)} == MADE
    assert names(folder) == TABLES | MADE
    assert make_outputs(folder, ALL) == []
    (folder / "boris.tsv").unlink()
    assert [path.name for path in make_outputs(folder, ALL)] == ["boris.tsv"]


def test_what_a_killed_process_left_is_no_video_and_goes(folder):
    """Of any of the files, half written."""
    for name in ("annotated", "report.html", "timeline.png", "elan.eaf"):
        (folder / f"{name}{PARTIAL}99999").write_bytes(b"half")
    assert {path.name for path in make_outputs(folder, ALL)} == MADE
    assert names(folder) == TABLES | MADE


def test_the_page_shows_the_annotated_video_once_there_is_one(folder):
    assert len(make_outputs(folder, Wanted())) == 2
    before = (folder / "report.html").read_bytes()
    assert {p.name for p in make_outputs(folder, Wanted(video=True))} == {
        "annotated.mp4", "report.html",
    }  # fmt: skip
    assert (folder / "report.html").read_bytes() != before


def test_what_was_made_of_other_tables_goes(folder):
    make_outputs(folder, ALL)
    (folder / "notes.txt").write_text("mine")
    clear_outputs(folder)
    assert names(folder) == TABLES | {"notes.txt"}
    clear_outputs(folder / "not there")


def test_without_the_video_there_are_tables_and_a_page(tmp_path):
    folder = write_folder(tmp_path / "x", an_analysis(source="camera:0"))
    assert {path.name for path in make_outputs(folder, Wanted())} == {"timeline.png", "report.html"}
    with pytest.raises(InputError, match=r"--video: camera:0 is no file"):
        make_outputs(folder, ALL)
    assert (folder / "report.html").exists()
