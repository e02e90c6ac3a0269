"""Text files: which encodings are read, and what is said of others."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from peclip_fast.errors import InputError
from peclip_fast.text_files import (
    csv_rows,
    read_csv_rows,
    read_lines,
    read_text,
    shown,
    whole_number,
)

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
ONE_FOLDER = settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@given(text=TEXT)
@ONE_FOLDER
def test_every_marked_encoding_gives_the_same_text(tmp_path: Path, text: str) -> None:
    path = tmp_path / "a.txt"
    text = text.lstrip("\ufeff")
    path.write_bytes(text.encode())
    assert read_text(path) == text
    for encoding in ("utf-8-sig", "utf-16", "utf-32"):
        path.write_bytes(text.encode(encoding))
        assert read_text(path) == text
    for encoding in ("utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"):
        path.write_bytes(f"\ufeff{text}".encode(encoding))
        assert read_text(path) == text


@given(data=st.binary(max_size=60))
@ONE_FOLDER
def test_any_bytes_are_text_or_refused_in_one_line(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(data)
    for read in (read_text, lambda p: list(read_lines(p)), lambda p: list(read_csv_rows(p))):
        said = ""
        try:
            read(path)
        except InputError as error:
            said = str(error)
        assert said == "" or said.startswith(f"{path}:")
        assert said.isprintable()


@pytest.mark.parametrize(
    ("text", "encoding", "byte"),
    [
        ("joie\r\ncolère\r\n", "cp1252", r"2: .*0xe8 in column 4"),
        ("anger\n片段\n", "gb18030", r"2: .*0xb6 in column 3"),
        ("anger\n怒り\n", "shift_jis", r"2: .*0x93 in column 1"),
        ("гнев", "cp1251", r"1: .*0xe3 in column 1"),
        ("colère", "mac_roman", r"1: .*0x8f in column 4"),
    ],
)
def test_other_encodings_are_named_not_guessed(
    tmp_path: Path, text: str, encoding: str, byte: str
) -> None:
    path = tmp_path / "a b.csv"
    path.write_bytes(text.encode(encoding))
    with pytest.raises(InputError, match=rf"a b\.csv:{byte}; save it as UTF-8") as caught:
        read_text(path)
    assert f"iconv -f ENCODING -t UTF-8 '{path}' > utf8.csv" in str(caught.value)


def test_a_published_encoding_is_taken_where_it_is_said(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes("皱着眉头".encode("gb18030"))
    assert read_text(path, "gb18030") == "皱着眉头"
    path.write_bytes("皱着眉头".encode())
    assert read_text(path, "gb18030") == "皱着眉头"
    path.write_bytes(b"\xff\xff")
    with pytest.raises(InputError, match="expected a text file in UTF-8 or gb18030"):
        read_text(path, "gb18030")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"a\nb\0c", r"a\.txt:2: expected a text file, got a NUL byte"),
        ("anger\n".encode("utf-16-le"), r"a\.txt:1: .*UTF-16 needs a byte-order mark"),
        (b"\xff\xfea", "it begins as UTF-16 and isn't"),
        (b"\xff\xfe\0\xd8", "it begins as UTF-16 and isn't"),
        (b"\xff\xfea\0\0\0", "got a NUL character"),
        (b"\xed\xb3\xa9", r"a\.txt:1: expected text in UTF-8"),
    ],
)
def test_what_is_no_text(tmp_path: Path, data: bytes, message: str) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(data)
    with pytest.raises(InputError, match=message):
        read_text(path)


def test_files_that_can_not_be_read(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "absent", tmp_path / ("x" * 300), Path("a\0b")):
        with pytest.raises(InputError, match=r": can't be read: \w") as caught:
            read_text(path)
        assert str(caught.value).isprintable()


@given(rows=st.lists(st.lists(TEXT.map(str.strip), min_size=1, max_size=4), max_size=6))
@settings(max_examples=200, deadline=None)
def test_csv_rows_come_back_as_they_were_written(rows: list[list[str]]) -> None:
    rows = [[field.replace("\r", "") for field in row] for row in rows]
    for delimiter in ",;\t":
        text = io.StringIO()
        csv.writer(text, delimiter=delimiter).writerows(rows)
        read = [fields for _, fields in csv_rows(text.getvalue(), Path("a.csv"), delimiter)]
        assert read == [[f.strip() for f in row] for row in rows if any(f.strip() for f in row)]


def test_rows_are_named_by_the_line_where_they_begin() -> None:
    text = 'a,b\r\n\r\n"c\nd",e\n,,\nf,g\n'
    assert [(s, f) for s, f in csv_rows(text, Path("l.csv"))] == [
        ("l.csv:1", ["a", "b"]),
        ("l.csv:3", ["c\nd", "e"]),
        ("l.csv:6", ["f", "g"]),
    ]


@pytest.mark.parametrize("row", ['"open,1', '"a"b,1', "x" * 131_073 + ",1"])
def test_rows_that_are_none(row: str) -> None:
    with pytest.raises(InputError, match=r"^l\.csv:2: not a row of a CSV file"):
        list(csv_rows(f"ok,1\n{row}\n", Path("l.csv")))


def test_numbers_and_what_is_shown() -> None:
    assert [whole_number(text) for text in ("0", "007", "9" * 18)] == [0, 7, 10**18 - 1]
    assert not any(map(whole_number, ("", "-1", "1.0", "٣", "1_0", "9" * 5000)))
    assert shown(" a ") == "'a'"
    assert len(shown("a" * 10_000)) < 90
