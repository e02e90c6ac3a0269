"""Annotation files as text, whatever wrote them."""

from __future__ import annotations

import codecs
import csv
from collections.abc import Iterator
from pathlib import Path

from peclip_fast.errors import InputError


def read_text(path: Path) -> str:
    """A whole text file: UTF-8 with or without BOM, UTF-16 with BOM, otherwise GBK.

    MAFW's captions are GBK; spreadsheets on Windows write UTF-16 and BOMs.

    Raises:
        InputError: the file can't be read, or is no text in any of these.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: can't be read: {error.strerror}") from None
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        encodings = ["utf-16"]
    else:
        encodings = ["utf-8-sig", "gb18030"]
    if b"\0" not in data or encodings == ["utf-16"]:
        for encoding in encodings:
            try:
                return data.decode(encoding)
            except UnicodeDecodeError:
                continue
    raise InputError(f"{path}: expected a text file (UTF-8, UTF-16 or GBK)")


def read_lines(path: Path) -> Iterator[tuple[str, str]]:
    """(``file:line``, line) of every line that isn't blank; any kind of line end."""
    text = read_text(path).replace("\r\n", "\n").replace("\r", "\n")
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            yield f"{path}:{number}", line


def read_csv_rows(path: Path) -> Iterator[tuple[str, list[str]]]:
    """(``file:line``, stripped fields) of every row that isn't blank."""
    for source, line in read_lines(path):
        yield source, [field.strip() for field in next(csv.reader([line]))]
