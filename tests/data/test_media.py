"""What counts as a clip, and what as a frame."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from peclip_fast.data.media import (
    IMAGE_SUFFIXES,
    VIDEO_SUFFIXES,
    PassedOver,
    frame_names,
    in_words,
    list_clips,
    natural_key,
)
from peclip_fast.errors import InputError

LEFT = ("__MACOSX/", "@eaDir/", "._a.mp4", ".DS_Store", "Thumbs.db", "desktop.ini", "lost+found/")
LEFT += ("$RECYCLE.BIN/", "System Volume Information/", "#recycle/", ".AppleDouble/", ".git/")
LEFT += (".ipynb_checkpoints/", "EHTHUMBS.DB", ".DS_Store?", ".a.mp4", "._x.MTS")
UNFINISHED = ("a.mp4.part", "a.mp4.crdownload", "a.tmp", "b.mp4.tmp-123", "a.mp4.!ut")


def fill(folder: Path, *names: str) -> Path:
    folder.mkdir(exist_ok=True)
    for name in names:
        if name.endswith("/"):
            (folder / name).mkdir()
        else:
            (folder / name).touch()
    return folder


@pytest.mark.parametrize("name", [*LEFT, *UNFINISHED])
def test_what_systems_and_programs_leave_is_no_clip(tmp_path: Path, name: str) -> None:
    folder = fill(tmp_path / "class", "a.mp4", name)
    passed: list[PassedOver] = []
    assert list_clips(folder, passed) == [folder / "a.mp4"]
    assert [p.path for p in passed] == [folder / name]
    with pytest.raises(InputError, match=r"only: no clip: expected video files .*, got 1 "):
        list_clips(fill(tmp_path / "only", name))


def test_every_suffix_counts_in_any_case(tmp_path: Path) -> None:
    names = [f"{k}{suffix.upper() if k % 2 else suffix}" for k, suffix in enumerate(VIDEO_SUFFIXES)]
    passed: list[PassedOver] = []
    assert len(list_clips(fill(tmp_path / "c", *names), passed)) == len(VIDEO_SUFFIXES)
    assert passed == []
    assert {".mts", ".m2ts", ".ts", ".ogv", ".gif", ".vob", ".webm"} <= VIDEO_SUFFIXES


def test_the_others_are_told_by_their_reasons(tmp_path: Path) -> None:
    folder = fill(tmp_path / "c", "a.mp4", "a.wav", "a.txt", "b.txt", "README", "a.jpg", "clip/")
    os.mkfifo(folder / "pipe.mp4")
    (folder / "nowhere").symlink_to("nothing")
    (folder / "gone.mp4").symlink_to("nothing.mp4")
    (folder / "around").symlink_to(tmp_path)
    (folder / "loop").symlink_to("loop")
    passed: list[PassedOver] = []
    found = [clip.name for clip in list_clips(folder, passed)]
    assert found == ["a.mp4", "clip", "gone.mp4"]  # the last is a clip that is missing
    assert in_words(passed) == (
        "3 without a suffix (loop, nowhere, README), 2 of unknown suffix .txt (a.txt, b.txt), 1 a "
        "picture outside of a clip's folder (a.jpg), 1 sound (a.wav), 1 a link to a folder around "
        "it (around), 1 no regular file (pipe.mp4)"
    )


def test_linked_clips_are_clips(tmp_path: Path, frames_at) -> None:
    frames_at(tmp_path / "elsewhere", 2)
    folder = fill(tmp_path / "c", "a.mp4")
    (folder / "b").symlink_to(tmp_path / "elsewhere")
    (folder / "c.mp4").symlink_to("a.mp4")
    assert [clip.name for clip in list_clips(folder)] == ["a.mp4", "b", "c.mp4"]


NAMES = st.sampled_from(
    ["a.mp4", "B.MTS", "c.txt", "._a", "Thumbs.db", "d", "e.jpg", ".x", "f.wav"]
)


@given(st.sets(NAMES, min_size=1))
@settings(max_examples=60, deadline=None)
def test_clips_and_what_is_passed_over_are_all_there_is(names: set[str]) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        fill(Path(folder), *names)
        passed: list[PassedOver] = []
        clips = list_clips(Path(folder), passed, needed=False)
        assert sorted([*(c.name for c in clips), *(p.path.name for p in passed)]) == sorted(names)


@given(st.lists(st.text(st.characters(codec="utf-8"), max_size=8), unique=True))
@settings(max_examples=200, deadline=None)
def test_the_order_is_total_and_does_not_depend_on_the_former(names: list[str]) -> None:
    ordered = sorted(names, key=natural_key)
    random.Random(0).shuffle(names)
    assert sorted(names, key=natural_key) == ordered


@given(st.lists(st.integers(0, 10**30), unique=True), st.sampled_from(["", "f_", "7_", "é"]))
def test_numbers_come_in_their_order(numbers: list[int], prefix: str) -> None:
    names = [f"{prefix}{n}.jpg" for n in numbers]
    assert sorted(names, key=natural_key) == [f"{prefix}{n}.jpg" for n in sorted(numbers)]


def test_names_with_and_without_numbers_are_sorted() -> None:
    assert sorted(["a1", "b", "a", "٣", "2", "9" * 5000], key=natural_key) == [
        "2", "٣", "9" * 5000, "a", "a1", "b",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("names", "frames"),
    [
        (["img_2.jpg", "img_10.jpg", "flow_x_2.jpg", "flow_y_10.jpg"], ["img_2.jpg", "img_10.jpg"]),
        (["00001.png", "x_00001.jpg", "y_00001.jpg"], ["00001.png"]),
        (["1.jpg", "1_flow.png", "flow1.jpg", "optical_flow_1.jpg"], ["1.jpg"]),
        (["1.jpg", "2.JPEG", "3.png"], ["1.jpg", "2.JPEG", "3.png"]),
        (["x_1.jpg", "x_2.jpg"], ["x_1.jpg", "x_2.jpg"]),
        (["001_sad.jpg", "002_fear.jpg"], ["001_sad.jpg", "002_fear.jpg"]),
        (["b.jpg", "a.jpg"], ["a.jpg", "b.jpg"]),
        (["00007_1.jpg", "00007_10.jpg"], ["00007_1.jpg", "00007_10.jpg"]),
    ],
)
def test_frames_of_a_folder(tmp_path: Path, names: list[str], frames: list[str]) -> None:
    passed: list[PassedOver] = []
    assert frame_names(fill(tmp_path / "f", *names, "Thumbs.db", "._1.jpg"), passed) == frames
    assert len(frames) + len(passed) == len(names) + 2


@pytest.mark.parametrize(
    "names",
    [
        ["x_1.jpg", "y_1.jpg"],
        ["flow_x_1.jpg", "flow_y_1.jpg"],
        ["img_1.jpg", "mask_1.png"],
        ["1.jpg", "1_left.jpg", "2.jpg"],
        ["1.jpg", "1.png"],
        ["1.jpg", "1.JPG"],
        ["1.jpg", "2.jpg", "cover.jpg"],
        ["img_1.jpg", "img_2.jpg", "img_2 (1).jpg"],
    ],
)
def test_two_images_of_a_frame_are_refused(tmp_path: Path, names: list[str]) -> None:
    with pytest.raises(InputError, match=r"f: .*: expected (one for each frame|the frames of one)"):
        frame_names(fill(tmp_path / "f", *names))


def test_the_documentation_lists_all_suffixes() -> None:
    text = (Path(__file__).parents[2] / "docs/data.md").read_text(encoding="utf-8")
    assert f"| videos | `{' '.join(sorted(VIDEO_SUFFIXES))}` |" in text
    assert f"| frames | `{' '.join(sorted(IMAGE_SUFFIXES))}` |" in text
