"""What tables are made of: rows of Markdown, and the cells in them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from benchmarks.report.results_files import Record

# What may tell rows apart, and how it is said below the table where it is the same in all.
CONSTANT = {"backbone": "{}", "frames": "{} frames", "clips": "{} clips", "hidden": "h = {}"}
CONSTANT |= {"contender": "backend {}", "dtype": "{}"}


class Table(NamedTuple):
    lines: list[str]
    note: str = ""
    """What is true of all of them."""


def markdown(head: Sequence[str], rows: Iterable[Sequence[str]], text_columns: int) -> list[str]:
    """A table; columns after the first ones hold numbers and stand to the right."""
    rule = ["---"] * text_columns + ["--:"] * (len(head) - text_columns)
    return ["| " + " | ".join(cells) + " |" for cells in (head, rule, *rows)]


def distinct(rows: Iterable[Record], key: str) -> list[Any]:
    """Values of a key, in the file's order."""
    return list(dict.fromkeys(row[key] for row in rows if key in row))


def labels(rows: Sequence[Record], keys: Iterable[str]) -> tuple[list[str], str]:
    """Those of the keys that tell rows apart, and a note of those that are the same in all."""
    values = {key: distinct(rows, key) for key in keys}
    apart = [key for key, found in values.items() if len(found) > (key in CONSTANT)]
    same = [
        CONSTANT[key].format(*found)
        for key, found in values.items()
        if key not in apart and len(found) == 1
    ]
    return apart, ", ".join(same)


def ratio(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def rounded(value: float | None) -> str:
    """Three digits and no exponent."""
    if value is None:
        return ""
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"
