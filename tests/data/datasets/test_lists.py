from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from peclip_fast.data.datasets.lists import read_list
from peclip_fast.errors import InputError


def write(path: Path, text: str, encoding: str = "utf-8") -> Path:
    path.write_bytes(text.encode(encoding))
    return path


def test_crlf_blank_lines_spaces_and_no_last_newline(tmp_path: Path) -> None:
    path = write(tmp_path / "l.txt", "a/my clip 1/x 12 3\r\n\r\n  b/y\t7  0 \r\nc/z 16 6")
    records = read_list(path)
    assert [str(r.path) for r in records] == ["a/my clip 1/x", "b/y", "c/z"]
    assert [r.num_frames for r in records] == [12, 7, 16]
    assert [r.label for r in records] == [3, 0, 6]
    assert [r.source for r in records] == [f"{path}:1", f"{path}:3", f"{path}:4"]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-32"])
def test_encodings(tmp_path: Path, encoding: str) -> None:
    mark = "\ufeff" if encoding.endswith("le") else ""
    path = write(tmp_path / "l.txt", f"{mark}片段/一 3 1\r\n", encoding)
    assert read_list(path)[0].path == Path("片段/一")


@pytest.mark.parametrize(
    "written",
    [
        "D:/Other/Code4/set/Clip/clip_224x224/00001",
        "D:\\Other\\Code4\\set\\Clip\\clip_224x224\\00001",
        "/mnt/disk/set/Clip/clip_224x224/00001",
        "set/Clip/clip_224x224/00001",
        "./set/Clip/clip_224x224//00001",
    ],
)
@pytest.mark.parametrize("root", ["", "set", "set/Clip", "set/Clip/clip_224x224"])
def test_root_takes_the_tail_that_exists(tmp_path: Path, written: str, root: str) -> None:
    clip = tmp_path / "set/Clip/clip_224x224/00001"
    clip.mkdir(parents=True)
    missing = written.replace("00001", "00000")
    path = write(tmp_path / "l.txt", f"{missing} 3 0\n{written} 4 1\n")
    first, second = read_list(path, tmp_path / root)
    assert second.path == clip
    assert first.path == clip.with_name("00000")  # the same tail, though it isn't there


def test_longest_tail_wins(tmp_path: Path) -> None:
    (tmp_path / "train/Angry/1").mkdir(parents=True)
    (tmp_path / "Angry/1").mkdir(parents=True)
    path = write(tmp_path / "l.txt", "X:/a/train/Angry/1 3 0")
    assert read_list(path, tmp_path)[0].path == tmp_path / "train/Angry/1"


def test_without_anything_on_disk_clips_stay_apart(tmp_path: Path) -> None:
    lines = "D:/x/faces/Action/Happy/0001 3 0\nD:/x/faces/Action/Sad/0001 3 1\n"
    path = write(tmp_path / "l.txt", lines)
    for root in (tmp_path / "absent", tmp_path):
        paths = [r.path for r in read_list(path, root)]
        assert paths == [root / "Happy/0001", root / "Sad/0001"]


@pytest.mark.parametrize(
    "line",
    ["a/b 12", "a/b", "a/b 12 x", "a/b twelve 3", "a/b -1 3", "a/b 12 -3", "a/b 1.5 3", "a/b 1 ٣"],
)
def test_bad_line_is_named(tmp_path: Path, line: str) -> None:
    path = write(tmp_path / "l.txt", f"ok 1 1\r\n{line}\r\n")
    with pytest.raises(InputError) as caught:
        read_list(path)
    assert str(caught.value) == (
        f"{path}:2: expected '<frame directory> <number of frames> <label>', got '{line}'"
    )


def test_file_errors(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"absent\.txt: can't be read: No such file"):
        read_list(tmp_path / "absent.txt")
    with pytest.raises(InputError, match=r"e\.txt: empty list"):
        read_list(write(tmp_path / "e.txt", "\r\n \n"))
    (tmp_path / "b.txt").write_bytes(b"\x00\x01\xff binary")
    with pytest.raises(InputError, match=r"b\.txt:1: expected a text file, got a NUL"):
        read_list(tmp_path / "b.txt")


def test_real_lists(assets: Path, tmp_path: Path) -> None:
    """As they are handed round: with drive letters, CRLF, and the last line without an end."""
    train = "DFEW_set_1_train_thinned.txt"
    counts = {"AFEW_val.txt": 383, "DFEW_set_1_test.txt": 2341, train: 1171}
    for name, count in counts.items():
        assert len(read_list(assets / "lists" / name, tmp_path)) == count
    (tmp_path / "clip_224x224/02522").mkdir(parents=True)
    records = read_list(assets / "lists" / train, tmp_path)
    assert records[0].path == tmp_path / "clip_224x224/02522"
    assert (records[0].num_frames, records[0].label) == (66, 5)
    assert records[-1].path == tmp_path / "clip_224x224/16372"
    assert records[-1].label == 6
    (tmp_path / "Angry/000316560").mkdir(parents=True)
    records = read_list(assets / "lists/AFEW_val.txt", tmp_path)
    assert records[0].path == tmp_path / "Angry/000149120"


def test_ten_thousand_lines_ask_the_disk_only_until_one_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = [f"D:\\a\\b\\clips\\{k:05d} {k % 200 + 1} {k % 7}" for k in range(10_000)]
    path = write(tmp_path / "l.txt", "\r\n".join(lines))
    (tmp_path / "clips/09999").mkdir(parents=True)
    asked: list[str] = []
    exists = os.path.exists
    monkeypatch.setattr(os.path, "exists", lambda p: asked.append(str(p)) or exists(p))
    records = read_list(path, tmp_path)
    assert records[0].path == tmp_path / "clips/00000"
    # One look at each line before the clip that is there, which is the last.
    below = [p for p in asked if p.startswith(str(tmp_path / "clips"))]
    assert len(below) == len(lines)


def test_numbers_and_paths_without_end(tmp_path: Path) -> None:
    for line in (f"a {'9' * 5000} 1", f"a 1 {'9' * 5000}"):
        with pytest.raises(InputError, match=r"l\.txt:1: expected '<frame directory>") as caught:
            read_list(write(tmp_path / "l.txt", line))
        assert len(str(caught.value)) < 300
    (tmp_path / "a").mkdir()
    start = time.monotonic()
    records = read_list(write(tmp_path / "l.txt", "a/" * 50_000 + "b 3 0\n"), tmp_path)
    assert len(records) == 1
    assert time.monotonic() - start < 1
