"""Figures of speed in prose, which must be in a results file.

A claim is a number followed by

- ``x`` without a space, or ``times`` (not ``640x360``, not ``16 x 199``): a ratio, as is one of the
  words two to ten before ``times as fast``, ``times faster`` or ``times slower``;
- ``ms``, ``µs``, ``clips/s``, ``frames/s``, or ``/s`` alone, which is taken for frames.

It holds if some results file has a value of that kind that gives the same digits when it is rounded
to as many (``times slower``: its reciprocal). That is a weak test of a figure with few digits, so
figures belong in generated blocks; what it does find is a claim that nothing has measured.

Generated blocks, code and regions marked ``<!-- not checked: why -->`` are passed over.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from benchmarks.results_files import FOLDER, Results

_NAMES = ("two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
_WORDS = {name: str(number) for number, name in enumerate(_NAMES, 2)}
_CLAIM = re.compile(
    r"(?<![\w.,])(?:"
    r"(?P<number>\d[\d,]*(?:\.\d+)?)"
    r"(?:(?P<x>[x×])(?!\w)|\s(?P<times>times)\b|\s?(?P<unit>ms|[µμ]s|clips/s|frames/s|/s)\b)"
    r"|(?P<word>" + "|".join(_WORDS) + r")\stimes\s(?=as\sfast|faster|slower))",
    re.IGNORECASE,
)
_SLOWER = re.compile(r"\s+slower\b")
_CODE = re.compile(r"^```.*?^```|`[^`\n]*`", re.DOTALL | re.MULTILINE)
_KEYS = {"ours_is_times_faster": "ratio", "clips_per_s": "clips/s", "frames_per_s": "frames/s"}


class Claim(NamedTuple):
    line: int
    text: str
    kind: str
    number: str


def claims(prose: str) -> Iterator[Claim]:
    """All in a text whose lines are those of its file."""
    prose = _CODE.sub(lambda code: "\n" * code[0].count("\n"), prose)
    for found in _CLAIM.finditer(prose):
        unit = (found["unit"] or "ratio").lower().replace("μ", "µ")
        kind = "frames/s" if unit == "/s" else unit
        if kind == "ratio" and _SLOWER.match(prose, found.end()):
            kind = "slower"
        number = found["number"] or _WORDS[found["word"].lower()]
        line = prose.count("\n", 0, found.start()) + 1
        yield Claim(line, " ".join(found[0].split()), kind, number.replace(",", ""))


def unfounded(prose: str, results: Iterable[Results]) -> Iterator[tuple[int, str]]:
    """The line and what is wrong, for each claim that no results file bears out."""
    measured: dict[str, set[float]] = {}
    for found in results:
        for kind, value in _measured(found.content):
            measured.setdefault(kind, set()).add(value)
    for claim in claims(prose):
        digits = len(claim.number.partition(".")[2])
        if not any(f"{v:.{digits}f}" == claim.number for v in measured.get(claim.kind, ())):
            expected = "its reciprocal" if claim.kind == "slower" else "it"
            yield (
                claim.line,
                f"{claim.text!r}: expected {expected} in a file in {FOLDER.as_posix()}, "
                "and none has it",
            )


def _measured(content: Any, key: str = "", ratios: bool = False) -> Iterator[tuple[str, float]]:
    """The kind and value of each number that a claim can be about."""
    if isinstance(content, dict):
        for name, value in content.items():
            yield from _measured(value, name, ratios or name == "times_faster_than")
    elif isinstance(content, list):
        for value in content:
            yield from _measured(value, key, ratios)
    elif isinstance(content, int | float) and not isinstance(content, bool):
        kind = "ratio" if ratios else "ms" if key.endswith("_ms") else _KEYS.get(key)
        if kind is not None:
            yield kind, float(content)
        if kind == "ms":
            yield "µs", 1e3 * content
        if kind == "ratio" and content:
            yield "slower", 1 / content
