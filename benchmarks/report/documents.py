"""``python -m benchmarks.report``: the documents' tables and plots, made from the results files.

In README.md and in docs/ these are regions, each ending at ``<!-- end -->``:

- ``<!-- results: pe_clip-cpu -->``: the table of that results file, or that there is none yet.
- ``<!-- plot: pe_clip-cpu -->``: the picture docs/plots/pe_clip-cpu.png, likewise.
- ``<!-- resources: 768, 96, bf16 -->``: what the GPU kernels use in that case.
- ``<!-- videos: read -->``: the kinds of videos that the tests read.

``--check`` writes nothing. It prints a line for each region or plot that isn't what the results
give; then it exits with 1.
"""

from __future__ import annotations

import argparse
import difflib
import os
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from benchmarks.compile_checks import table
from benchmarks.report import plots, videos
from benchmarks.report.results_files import Results, ResultsError, file_of, read_results
from benchmarks.report.tables import block
from peclip_fast.files import write_text

ROOT = Path(__file__).parents[2]
AGAIN = "run python -m benchmarks.report"
_MARKER = re.compile(r"<!-- (results|plot|resources|videos): (.*\S) -->")
_END = "<!-- end -->"


class DocumentError(Exception):
    """A marker that can't be understood: file, line and why."""


class Region(NamedTuple):
    kind: str
    name: str
    start: int
    """The index of its first line, after the marker."""
    lines: list[str]


def documents(root: Path) -> list[Path]:
    return [root / "README.md", *sorted((root / "docs").rglob("*.md"))]


def regions(path: Path, lines: Sequence[str]) -> list[Region]:
    """All of a document; none may hold another."""
    found: list[Region] = []
    opened: tuple[str, str, int] | None = None
    for index, line in enumerate(lines):
        if marker := _MARKER.fullmatch(line):
            if opened:
                raise DocumentError(f"{path}:{index + 1}: expected {_END} before another region")
            opened = (marker[1], marker[2], index + 1)
        elif line == _END:
            if not opened:
                raise DocumentError(f"{path}:{index + 1}: expected a region before {_END}")
            found.append(Region(*opened, list(lines[opened[2] : index])))
            opened = None
    if opened:
        raise DocumentError(f"{path}:{opened[2]}: expected {_END} after {opened[1]!r}")
    return found


def made(region: Region, document: Path, root: Path, results: dict[str, Results]) -> list[str]:
    """What belongs into a region, its links as seen from the document."""
    if region.kind == "results":
        link = Path(os.path.relpath(file_of(region.name), document.parent)).as_posix()
        return block(region.name, results.get(region.name), link)
    if region.kind == "resources":
        link = Path(os.path.relpath(table.FILE, document.parent)).as_posix()
        return table.summary(table.read(root), region.name, link)
    if region.kind == "videos":
        return videos.table()
    return plots.embedded(region.name, results, document.parent)


def rewritten(document: Path, text: str, root: Path, results: dict[str, Results]) -> str:
    """The document with all regions made anew; ``document`` is its path from the root."""
    lines = text.split("\n")
    for region in reversed(regions(document, lines)):
        try:
            content = made(region, document, root, results)
        except ValueError as error:
            raise DocumentError(f"{document}:{region.start}: {error}") from error
        lines[region.start : region.start + len(region.lines)] = content
    return "\n".join(lines)


def rewrite(root: Path) -> None:
    """All documents and plots."""
    results = read_results(root)
    texts = {path: path.read_text() for path in documents(root)}
    for path, text in texts.items():
        texts[path] = rewritten(path.relative_to(root), text, root, results)
    plots.write(root, results)  # first: it may find that a key is missing
    for path, text in texts.items():
        if path.read_text() != text:
            write_text(path, text)


def problems(root: Path) -> Iterator[str]:
    """A line for everything that isn't as the results have it."""
    results = read_results(root)
    for path in documents(root):
        document, text = path.relative_to(root), path.read_text()
        for number, expected in _differences(text, rewritten(document, text, root, results)):
            yield f"{document}:{number}: expected {expected!r} ({AGAIN})"
    for file, why in plots.stale(root, results):
        yield f"{file}:1: {why} ({AGAIN})"


def _differences(old: str, new: str) -> Iterator[tuple[int, str]]:
    """Line number and first expected line of each place where two texts differ."""
    before, after = old.split("\n"), new.split("\n")
    matcher = difflib.SequenceMatcher(None, before, after, autojunk=False)
    for kind, start, _, first, last in matcher.get_opcodes():
        if kind != "equal":
            yield start + 1, after[first] if first < last else "nothing here"


def main(arguments: Sequence[str] | None = None, root: Path = ROOT) -> int:
    """The exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.report",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if stale")
    options = parser.parse_args(arguments)
    try:
        if options.check:
            found = list(problems(root))
        else:
            rewrite(root)
            found = []
    except (ResultsError, DocumentError) as error:
        found = [str(error)]
    print("\n".join(found), end="\n" if found else "", file=sys.stderr)
    return 1 if found else 0
