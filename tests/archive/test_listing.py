"""Lists of videos: what is in them, and what is refused by its line."""

from __future__ import annotations

import re

import pyarrow
import pyarrow.parquet
import pytest

from peclip_fast.archive.listing import list_sources
from peclip_fast.errors import InputError


def names(*given) -> list[str]:
    return [source.name for source in list_sources([str(one) for one in given])]


@pytest.fixture
def videos(tmp_path):
    folder = tmp_path / "v"
    folder.mkdir()
    for name in ("a.mp4", "b.mp4", "notes.md"):
        (folder / name).touch()
    return folder


def test_paths_folders_patterns_and_urls(videos):
    a, b = str(videos / "a.mp4"), str(videos / "b.mp4")
    assert names(a) == [a]
    assert names(videos) == [a, b]
    assert names(videos / "*.mp4") == [a, b]
    assert names("s3://bucket/a.mp4", b) == ["s3://bucket/a.mp4", b]
    assert names(f"file://{videos}/*.mp4") == [f"file://{a}", f"file://{b}"]


@pytest.mark.parametrize("kind", ["csv", "txt", "parquet"])
def test_lists_are_relative_to_their_folder(videos, kind):
    listed = ["a.mp4", "../v/b.mp4", "https://host/c.mp4", "missing.mp4", "a.mp4"]
    path = videos / f"list.{kind}"
    if kind == "csv":
        path.write_text("id,source\n" + "".join(f"{n},{name}\n" for n, name in enumerate(listed)))
    elif kind == "txt":
        path.write_text("\n\n".join(listed))
    else:
        pyarrow.parquet.write_table(pyarrow.table({"id": range(5), "source": listed}), path)
    a, b = str(videos / "a.mp4"), str(videos / "b.mp4")
    assert names(path) == [a, b, "https://host/c.mp4", str(videos / "missing.mp4"), a]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("l.csv", "a.mp4\nb.mp4\n", r"l\.csv:1: expected the columns source"),
        ("l.csv", "source\n", r"l\.csv: lists no videos"),
        ("l.csv", "source,x\na.mp4\n", r"l\.csv:2: expected 2 fields, got 1"),
        ("l.csv", "source,x\n,1\n", r"l\.csv:2: expected a path or URL"),
        ("l.csv", "source\ncamera:0\n", r"l\.csv:2: camera:0: expected something that ends"),
        ("l.csv", "source\n.\n", r"l\.csv:2: \.: expected a video file, got a folder"),
        ("l.txt", "a.mp4\nrtsp://x/y\n", r"l\.txt:2: rtsp://x/y: expected something that ends"),
        ("l.txt", "", r"l\.txt: lists no videos"),
        ("l.parquet", "no", r"l\.parquet: can't be read"),
    ],
)
def test_what_is_refused(tmp_path, name, text, message):
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(InputError, match=message) as caught:
        names(path)
    assert "\n" not in str(caught.value)


def test_parquet_of_another_form(tmp_path):
    for table, message in (
        ({"path": ["a"]}, "expected a column source, got ['path']"),
        ({"source": ["a", None]}, "row 2: expected a path or URL, got None"),
        ({"source": [1]}, "row 1: expected a path or URL, got 1"),
    ):
        path = tmp_path / "l.parquet"
        pyarrow.parquet.write_table(pyarrow.table(table), path)
        with pytest.raises(InputError, match=re.escape(message)):
            names(path)


def test_nothing_there(tmp_path):
    for given, message in (
        (tmp_path / "*.mp4", "no file matches"),
        (f"file://{tmp_path}/*.mp4", "no file matches"),
        (tmp_path, "empty folder: expected video files"),
        ("nosuch://x/*.mp4", "can't be listed"),
    ):
        with pytest.raises(InputError, match=message):
            names(given)
