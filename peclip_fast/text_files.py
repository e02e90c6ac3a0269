"""Text files that users give: lists, tables, texts, options. UTF-8, or UTF-16 that says so.

Nothing is guessed. What is neither is refused with the line, the byte and the way out.
"""

from __future__ import annotations

import codecs
import csv
import io
import shlex
from collections.abc import Collection, Iterator
from pathlib import Path

from peclip_fast.errors import InputError

# The longer ones first: the mark of UTF-32 begins like that of UTF-16.
_MARKS = {
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
    codecs.BOM_UTF8: "utf-8-sig",
}
_SHOWN = 80  # characters of a wrong line that a message repeats


def read_text(path: Path, published: str | None = None) -> str:
    """A whole text file: UTF-8 with or without a byte-order mark, or UTF-16 or UTF-32 with one.

    Args:
        path: the file.
        published: another encoding, in which files of this kind were published.

    Raises:
        InputError: the file can't be read, or is no text in these encodings; names the line.
    """
    try:
        data = path.read_bytes()
    except (OSError, ValueError) as error:  # ValueError: a path with a NUL byte
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"{path}: can't be read: {reason}") from None
    encoding = next((name for mark, name in _MARKS.items() if data.startswith(mark)), "utf-8")
    if encoding.startswith("utf-8") and b"\0" in data:
        line = data.count(b"\n", 0, data.index(b"\0")) + 1
        raise InputError(
            f"{path}:{line}: expected a text file, got a NUL byte (UTF-16 needs a byte-order mark)"
        )
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        if published is None or encoding != "utf-8":
            raise _not_decoded(path, data, encoding, error) from None
        try:
            text = data.decode(published)
        except UnicodeDecodeError:
            raise InputError(f"{path}: expected a text file in UTF-8 or {published}") from None
    if "\0" in text:
        raise InputError(f"{path}: expected a text file, got a NUL character")
    return text


def _not_decoded(path: Path, data: bytes, encoding: str, error: UnicodeDecodeError) -> InputError:
    if not encoding.startswith("utf-8"):
        name = encoding.upper()
        return InputError(f"{path}: expected a text file: it begins as {name} and isn't ({error})")
    line = data.count(b"\n", 0, error.start) + 1
    column = error.start - data.rfind(b"\n", 0, error.start)
    return InputError(
        f"{path}:{line}: expected text in UTF-8, got the byte 0x{data[error.start]:02x} in column "
        f"{column}; save it as UTF-8 (Excel: 'CSV UTF-8'), or convert it from the encoding that it "
        f"is in, such as WINDOWS-1252 or GB18030: iconv -f ENCODING -t UTF-8 "
        f"{shlex.quote(str(path))} > utf8{path.suffix}"
    )


def shown(text: str) -> str:
    """Some text of a file, in quotes and not too long, for a message."""
    text = text.strip()
    return f"'{text}'" if len(text) <= _SHOWN else f"'{text[:_SHOWN]}...'"


def whole_number(text: str) -> int | None:
    """A number of ASCII digits, as far as any is of use; None for anything else."""
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 18 else None


def read_lines(path: Path, published: str | None = None) -> Iterator[tuple[str, str]]:
    """(``file:line``, line) of every line that isn't blank; any kind of line end."""
    text = read_text(path, published).replace("\r\n", "\n").replace("\r", "\n")
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            yield f"{path}:{number}", line


def csv_rows(text: str, path: Path, delimiter: str = ",") -> Iterator[tuple[str, list[str]]]:
    """(``file:line``, stripped fields) of every row that isn't blank, from a CSV file's text.

    Raises:
        InputError: a quote that isn't closed or stands before other text, or a field of more than
            131,072 characters; names the line where the row begins.
    """
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    line = 1
    try:
        for row in rows:
            fields = [field.strip() for field in row]
            if any(fields):
                yield f"{path}:{line}", fields
            line = rows.line_num + 1
    except csv.Error as error:
        raise InputError(f"{path}:{line}: not a row of a CSV file ({error})") from None


def read_table(path: Path, columns: Collection[str]) -> Iterator[tuple[str, dict[str, str]]]:
    """(``file:line``, field of each column) of every row of a CSV file that begins with a heading.

    Args:
        path: the file.
        columns: which it must have; what it has more is given too.

    Raises:
        InputError: as csv_rows(), a column is missing or comes twice, or a row has more or fewer
            fields than the heading.
    """
    rows = read_csv_rows(path)
    source, heading = next(rows, (f"{path}", []))
    if not set(columns) <= set(heading) or len(set(heading)) < len(heading):
        raise InputError(f"{source}: expected the columns {', '.join(columns)}, each once")
    for source, fields in rows:
        if len(fields) != len(heading):
            raise InputError(f"{source}: expected {len(heading)} fields, got {len(fields)}")
        yield source, dict(zip(heading, fields, strict=True))


def read_csv_rows(path: Path) -> Iterator[tuple[str, list[str]]]:
    """The rows of a file with commas, as csv_rows() gives them."""
    return csv_rows(read_text(path), path)
