"""CSV files of clips: what separates, what is a header, and what is said where that isn't plain."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from peclip_fast.config.data import DataConfig
from peclip_fast.data.datasets.csv_files import COLUMNS, read_clip_rows
from peclip_fast.data.splits import DataWarning, open_splits
from peclip_fast.errors import InputError


def write(path: Path, text: str) -> Path:
    path.write_bytes(text.encode())
    return path


def read(path: Path, text: str) -> list[tuple[str, str]]:
    """(clip, label) of each row."""
    rows = read_clip_rows(write(path / "l.csv", text), path, [])
    return [(record.path.relative_to(path).as_posix(), label) for label, record in rows]


TWO = [("a.mp4", "joy"), ("b.mp4", "fear")]
HEADERS = [f"{p},{e}" for p in COLUMNS["path"] for e in COLUMNS["label"]]


@pytest.mark.parametrize("header", [*HEADERS, "File Name,Emotion", "VIDEO-PATH,Class Name"])
def test_headers_by_their_usual_names(tmp_path: Path, header: str) -> None:
    assert read(tmp_path, f"{header}\na.mp4,joy\nb.mp4,fear\n") == TWO


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("header", ["", "filename{0}emotion\r\n", "emotion{0}file\r\n"])
def test_commas_semicolons_and_tabs(tmp_path: Path, delimiter: str, header: str) -> None:
    row = "{1}{0}{2}\r\n" if header.startswith("emotion") else "{2}{0}{1}\r\n"
    text = header.format(delimiter)
    text += "".join(row.format(delimiter, label, path) for path, label in TWO)
    assert read(tmp_path, text) == TWO


def test_a_header_says_what_separates(tmp_path: Path) -> None:
    assert read(tmp_path, "path;label\na, b.mp4;joy") == [("a, b.mp4", "joy")]
    assert read(tmp_path, 'path,label\n"a;b.mp4",joy') == [("a;b.mp4", "joy")]
    assert read(tmp_path, '"a;b.mp4",joy') == [("a;b.mp4", "joy")]
    with pytest.raises(InputError, match=r"l\.csv:1: parted by commas or semicolons\? expected a"):
        read(tmp_path, "a, b.mp4;joy\n")


def test_columns_anywhere_and_others_are_told(tmp_path: Path) -> None:
    text = "id,End,emotion,begin,video\n1,2.5,joy,1,a.mp4\n2,,fear,,b.mp4\n"
    remarks: list[str] = []
    path = write(tmp_path / "l.csv", text)
    (_, first), (label, second) = read_clip_rows(path, tmp_path, remarks)
    assert (first.start, first.end) == (1.0, 2.5)
    assert (label, second.path.name, second.start) == ("fear", "b.mp4", None)
    assert remarks == [f"{path}:1: columns that aren't read: id"]
    with pytest.warns(DataWarning, match=r"l\.csv:1: columns that aren't read: id"):
        open_splits(DataConfig("csv", train_list=path))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("filename,mood\na.mp4,joy", "1: the header 'filename,mood' has no column label"),
        ("clip_nr,emotion\na.mp4,joy", "1: the header 'clip_nr,emotion' has no column path"),
        ("path,file,label\na.mp4,b,joy", "1: the header has path and file; expected one path"),
        ("Dateiname,Gefühl\na.mp4,joy\nb.mp4,fear", "1: 'Dateiname,Gefühl' seems to be a header"),
        ("x,y\na.mp4,joy", "1: 'x,y' seems to be a header of unknown names"),
        ("emotion,file\njoy,a.mp4,1", "2: 3 columns, but 2 in the header, got 'joy,a.mp4,1'"),
        ("emotion,file\njoy", "2: 1 columns, but 2 in the header"),
        ("emotion,file\n,a.mp4", "2: expected path,label"),
        ("path,label\n", " no clips; expected rows path,label"),
        ("", " no clips"),
        ("a.mp4", "1: expected path,label"),
        ("a.mp4,joy,1,1e400", "1: expected a time in seconds, got '1e400'"),
        ("a.mp4,joy,1_0,20", "1: expected a time in seconds, got '1_0'"),
        ("a.mp4;joy;1,5;2", "1: parted by commas or semicolons"),
        ("path;label;start;end\na.mp4;joy;1,5;2", "2: expected a time in seconds, got '1,5'"),
        ("a.mp4,joy," + "9" * 5000 + ",1", "1: expected a time in seconds, got '9"),
        ('a.mp4,"joy\nb.mp4,fear', "1: not a row of a CSV file"),
    ],
)
def test_what_is_not_plain_is_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(InputError) as caught:
        read(tmp_path, text)
    assert str(caught.value).startswith(f"{tmp_path}/l.csv:{message}")
    assert len(str(caught.value)) < 500


def test_a_first_clip_that_is_missing_is_no_header(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    assert read(tmp_path, "a,joy\nb,joy\n") == [("a", "joy"), ("b", "joy")]
    assert read(tmp_path, "a.mp4,joy\nb,fear\n")[0] == ("a.mp4", "joy")
    with pytest.raises(InputError, match="seems to be a header"):
        read(tmp_path, "a,joy\nb,fear\n")
    assert read(tmp_path, "path,label\na,joy\nb,fear\n") == [("a", "joy"), ("b", "fear")]


@pytest.mark.parametrize("other", ["Joy", "JOY", "ｊoy", "jo\u200by", "joy\u202e"])
def test_one_class_in_two_spellings_is_refused(tmp_path: Path, other: str) -> None:
    train, test = (
        write(tmp_path / "a.csv", "a.mp4,joy"),
        write(tmp_path / "b.csv", f"b.mp4,{other}"),
    )
    with pytest.raises(InputError, match=r"b\.csv:1: the class '.*' is 'joy' in .*a\.csv:1") as one:
        open_splits(DataConfig("csv", train_list=train, test_list=test))
    assert str(one.value).isprintable()
    with pytest.raises(InputError, match=r"b\.csv:1: unknown class .*, but 'joy' is one; known"):
        open_splits(DataConfig("csv", test_list=test, classes=["joy"]))


def test_spaces_around_and_composition_do_not_count(tmp_path: Path) -> None:
    rows = "a.mp4,cole\u0300re\nb.mp4, colère \nc.mp4,colère\u00a0\n"
    assert open_splits(DataConfig("csv", train_list=write(tmp_path / "a.csv", rows))).classes == (
        "colère",
    )


def test_clips_that_come_again(tmp_path: Path) -> None:
    train = write(tmp_path / "a.csv", "a.mp4,joy\nb.mp4,joy\n./a.mp4,joy\na.mp4,fear,1,2\n")
    test = write(tmp_path / "b.csv", "b.mp4,joy\n")
    with pytest.warns(DataWarning) as caught:
        open_splits(DataConfig("csv", train_list=train, test_list=test))
    assert [str(w.message) for w in caught] == [
        f"1 training clips come twice ({tmp_path}/a.mp4 in {train}:3)",
        f"1 test clips are training clips, too ({tmp_path}/b.mp4)",
    ]
    write(train, "a.mp4,joy\na.mp4,fear\n")
    with pytest.raises(
        InputError, match=r"a\.csv:2: .*a\.mp4 is 'fear', but 'joy' in .*a\.csv:1; exp"
    ):
        open_splits(DataConfig("csv", train_list=train))


NAME = st.text(st.characters(exclude_categories=["C", "Z"], exclude_characters="\\/"), min_size=1)


@given(clips=st.dictionaries(NAME, st.sampled_from(["joy", "fear", "colère"]), min_size=1))
@settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_lists_come_back_as_they_were_written(tmp_path: Path, clips: dict[str, str]) -> None:
    rows = [(f"{name}.mp4", label) for name, label in clips.items()]
    for delimiter in ",;\t":
        text = io.StringIO()
        csv.writer(text, delimiter=delimiter).writerows([("path", "label"), *rows])
        assert read(tmp_path, text.getvalue()) == rows
