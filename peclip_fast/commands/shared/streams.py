"""Standard input, output and error as they should be: there, and able to write every name."""

from __future__ import annotations

import io
import os
import sys
from typing import Any, TextIO

INPUT, OUTPUT, ERROR = 0, 1, 2  # their descriptors
OUTPUT_NAME = "standard output"


def prepare_streams() -> None:
    """Called once, before anything is opened.

    A stream that is closed becomes /dev/null, so that no file that is opened later gets its number.
    What an encoding can't write is escaped. Errors of standard output name it; those of standard
    error are nothing that work should end for.
    """
    for number in (INPUT, OUTPUT, ERROR):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number
    sys.stdout = _stream(_Output(OUTPUT, "w", closefd=False), sys.stdout)
    sys.stderr = _stream(_Error(ERROR, "w", closefd=False), sys.stderr)


def _stream(raw: io.FileIO, former: TextIO | None) -> TextIO:
    return io.TextIOWrapper(
        io.BufferedWriter(raw),
        encoding=former.encoding if former else "utf-8",
        errors="backslashreplace",
        line_buffering=former is None or raw.fileno() == ERROR or former.isatty(),
    )


class _Output(io.FileIO):
    def write(self, data: Any) -> Any:
        """Name the stream in an error, and lose what comes after it."""
        try:
            return super().write(data)
        except OSError as error:
            with open(os.devnull, "wb") as nowhere:
                os.dup2(nowhere.fileno(), OUTPUT)
            raise type(error)(error.errno, error.strerror, OUTPUT_NAME) from None


class _Error(io.FileIO):
    def write(self, data: Any) -> Any:
        """Lose what can't be written."""
        try:
            return super().write(data)
        except OSError:
            return len(data)
