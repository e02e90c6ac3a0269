from __future__ import annotations

from pathlib import Path

import pytest

from peclip_fast.config.data import DataConfig
from peclip_fast.data.splits import open_splits
from peclip_fast.errors import InputError


def write(path: Path, text: str) -> Path:
    path.write_bytes(text.encode())
    return path


def test_list_needs_names_and_files(tmp_path: Path) -> None:
    listed = write(tmp_path / "l.txt", "a 3 0\nb 4 2\n")
    with pytest.raises(InputError, match=r"^data\.classes: needed"):
        open_splits(DataConfig("list", train_list=listed))
    with pytest.raises(InputError, match=r"^data\.train_list, data\.test_list: list needs one"):
        open_splits(DataConfig("list", classes=["x"]))
    splits = open_splits(DataConfig("list", train_list=listed, classes=["x", "y", "z"]))
    assert [(str(r.path), r.num_frames, splits.classes[r.label]) for r in splits.train] == [
        ("a", 3, "x"),
        ("b", 4, "z"),
    ]
    with pytest.raises(InputError, match=r"l\.txt:2: unknown label 2; known: 0 x, 1 y$"):
        open_splits(DataConfig("list", train_list=listed, classes=["x", "y"]))
    with pytest.raises(InputError, match=r"^data\.root: .*absent is no folder"):
        open_splits(DataConfig("list", tmp_path / "absent", test_list=listed, classes=["x"]))


def test_csv(tmp_path: Path) -> None:
    train = write(
        tmp_path / "train.csv",
        'path,label,start,end\r\n"a, b.mp4",wave,0.5,2\r\nsub\\c.mp4,clap,,\r\n',
    )
    test = write(tmp_path / "test.csv", "/abs/d.mp4,wave")
    splits = open_splits(DataConfig("csv", train_list=train, test_list=test))
    assert splits.classes == ("clap", "wave")
    first, second = splits.train
    assert (first.path, first.label, first.start, first.end) == (tmp_path / "a, b.mp4", 1, 0.5, 2.0)
    assert (second.path, second.label, second.start) == (tmp_path / "sub/c.mp4", 0, None)
    assert second.source == f"{train}:3"
    assert splits.test[0].path == Path("/abs/d.mp4")
    (tmp_path / "videos").mkdir()
    moved = open_splits(DataConfig("csv", tmp_path / "videos", train_list=train))
    assert moved.train[1].path == tmp_path / "videos/sub/c.mp4"


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("a.mp4", "expected path,label or path,label,start,end, got 'a.mp4'"),
        ("a.mp4,", "expected path,label"),
        ("a.mp4,wave,1", "expected path,label"),
        ("a.mp4,wave,x,2", "expected a time in seconds, got 'x'"),
        ("a.mp4,wave,-1,2", "expected a time in seconds, got '-1'"),
        ("a.mp4,wave,nan,2", "expected a time in seconds, got 'nan'"),
        ("a.mp4,wave,3,2", r"start 3\.0 s is not before end 2\.0 s"),
        ("a.mp4,bored", "unknown class 'bored'; known classes: clap, wave"),
    ],
)
def test_bad_csv_row_is_named(tmp_path: Path, row: str, message: str) -> None:
    path = write(tmp_path / "l.csv", f"path,label\nok.mp4,wave\n{row}\n")
    with pytest.raises(InputError, match=rf"l\.csv:3: {message}"):
        open_splits(DataConfig("csv", train_list=path, classes=["clap", "wave"]))
