"""CSV files of clips: which character separates, what the columns are, and the rows.

A header names columns in any order. Without one the columns are path, label, start, end.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from peclip_fast.data.media import VIDEO_SUFFIXES
from peclip_fast.data.records import ClipRecord
from peclip_fast.errors import InputError
from peclip_fast.text_files import csv_rows, read_text, shown

FORM = "path,label or path,label,start,end"
# What columns are called, in lower case with _ for spaces and dashes; the first is our own name.
COLUMNS: Mapping[str, Sequence[str]] = {
    "path": [
        "path",
        "file",
        "filename",
        "file_name",
        "filepath",
        "file_path",
        "video",
        "video_name",
        "videoname",
        "video_path",
        "video_file",
        "clip",
        "clip_name",
        "clip_path",
        "name",
    ],
    "label": [
        "label",
        "labels",
        "label_name",
        "emotion",
        "expression",
        "class",
        "classname",
        "class_name",
        "category",
        "target",
    ],
    "start": ["start", "start_time", "start_seconds", "start_s", "begin", "onset"],
    "end": ["end", "end_time", "end_seconds", "end_s", "stop", "offset"],
}
_COLUMN = {word: column for column, words in COLUMNS.items() for word in words}
_DELIMITERS = {",": "commas", ";": "semicolons", "\t": "tabs"}

Rows = list[tuple[str, list[str]]]


def read_clip_rows(path: Path, base: Path, remarks: list[str]) -> list[tuple[str, ClipRecord]]:
    """The label of each row as it is written, and its clip, with label 0.

    Args:
        path: the CSV file.
        base: folder that the paths are relative to.
        remarks: gets a word on columns that aren't read.

    Raises:
        InputError: a row is of another form, or it isn't plain what separates or what the columns
            are; names ``file:line``.
    """
    rows = _rows(path)
    header = rows.pop(0) if rows and _is_header(rows[0][1]) else None
    if not rows:
        raise InputError(f"{path}: no clips; expected rows {FORM}")
    if header is None:
        _refuse_header(rows, base)
        return [_record(source, _usual(source, fields), base) for source, fields in rows]
    source, names = header
    columns = _columns(names)
    _check_header(source, names, columns)
    if [*columns] == [*COLUMNS][: len(columns)]:
        return [_record(source, _usual(source, fields), base) for source, fields in rows]
    others = [name for name, column in zip(names, columns, strict=True) if name and not column]
    if others:
        remarks.append(f"{source}: columns that aren't read: {', '.join(others)}")
    return [_record(source, _named(source, fields, columns), base) for source, fields in rows]


def _rows(path: Path) -> Rows:
    """All rows, parted by the one character that can part the first."""
    text = read_text(path)
    firsts: dict[str, tuple[str, list[str]]] = {}
    for delimiter in _DELIMITERS:
        with contextlib.suppress(InputError):  # quotes that only another character makes sense of
            for row in csv_rows(text, path, delimiter):
                firsts[delimiter] = row
                break
    parting = [delimiter for delimiter, (_, fields) in firsts.items() if len(fields) > 1]
    choice = [d for d in parting if _is_header(firsts[d][1])] or parting or [","]
    if len(choice) > 1:
        words = " or ".join(_DELIMITERS[delimiter] for delimiter in choice)
        raise InputError(
            f"{firsts[choice[0]][0]}: parted by {words}? expected a header, path,label, above it"
        )
    return list(csv_rows(text, path, choice[0]))


def _columns(names: Sequence[str]) -> list[str | None]:
    """The columns that names mean, None for others."""
    return [_COLUMN.get(re.sub(r"[\s-]+", "_", name.lower())) for name in names]


def _is_header(names: Sequence[str]) -> bool:
    """Whether a first row names columns: in their usual place, or several of them anywhere."""
    columns = _columns(names)
    return columns[0] == "path" or columns[1:2] == ["label"] or len({*columns} - {None}) > 1


def _check_header(source: str, names: Sequence[str], columns: Sequence[str | None]) -> None:
    for column, words in COLUMNS.items():
        same = [n for n, c in zip(names, columns, strict=True) if c == column]
        if len(same) > 1:
            raise InputError(
                f"{source}: the header has {' and '.join(same)}; expected one {column}"
            )
        if not same and column in ("path", "label"):
            raise InputError(
                f"{source}: the header {shown(','.join(names))} has no column {column} (or "
                f"{', '.join(words[1:])}); expected path,label[,start,end], or no header"
            )


def _usual(source: str, fields: Sequence[str]) -> dict[str, str]:
    if len(fields) not in (2, 4):
        raise InputError(f"{source}: expected {FORM}, got {shown(','.join(fields))}")
    return dict(zip(COLUMNS, fields, strict=False))


def _named(source: str, fields: list[str], columns: Sequence[str | None]) -> dict[str, str]:
    if len(fields) != len(columns):
        raise InputError(
            f"{source}: {len(fields)} columns, but {len(columns)} in the header, got "
            f"{shown(','.join(fields))}"
        )
    return {column: field for column, field in zip(columns, fields, strict=True) if column}


def _refuse_header(rows: Rows, base: Path) -> None:
    """InputError if the first row seems to be a header of other names: no clip, unlike others."""
    (source, first), *others = rows
    labels = {fields[1] for _, fields in others if len(fields) > 1}
    if not others or len(first) < 2 or first[1] in labels or _is_clip(first[0], base):
        return
    if all(_is_clip(fields[0], base) for _, fields in others[:3]):
        raise InputError(
            f"{source}: {shown(','.join(first))} seems to be a header of unknown names; expected "
            "path,label above the rows"
        )


def _is_clip(name: str, base: Path) -> bool:
    suffix = os.path.splitext(name)[1].lower()
    return suffix in VIDEO_SUFFIXES or os.path.exists(base / name.replace("\\", "/"))


def _record(source: str, row: Mapping[str, str], base: Path) -> tuple[str, ClipRecord]:
    if not row["path"] or not row["label"]:
        raise InputError(f"{source}: expected {FORM}, got {shown(','.join(row.values()))}")
    start, end = (_seconds(row.get(column, ""), source) for column in ("start", "end"))
    if start is not None and end is not None and start >= end:
        raise InputError(f"{source}: start {start} s is not before end {end} s")
    clip = base / row["path"].replace("\\", "/")
    return row["label"], ClipRecord(clip, 0, None, source, start, end)


def _seconds(text: str, source: str) -> float | None:
    if not text:
        return None
    try:
        seconds = float(text) if text.isascii() and "_" not in text else -1.0
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < float("inf"):
        raise InputError(f"{source}: expected a time in seconds, got {shown(text)}")
    return seconds
