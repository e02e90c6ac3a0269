"""The results files: read, with errors that name the file and the key."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, NamedTuple

FOLDER = Path("benchmarks") / "results"


class ResultsError(Exception):
    """What is wrong with a results file, in one line."""


class Record(dict[str, Any]):
    """A JSON object that says which file lacks a key."""

    def __init__(self, file: str, content: dict[str, Any]) -> None:
        super().__init__(content)
        self.file = file

    def __missing__(self, key: str) -> Any:
        raise ResultsError(f"{self.file}: no key {key!r}")


class Results(NamedTuple):
    name: str
    """Of the benchmark and the device, such as pe_clip-cpu."""
    content: Record

    @property
    def rows(self) -> list[Record]:
        rows = self.content["rows"]
        if not isinstance(rows, list) or not all(isinstance(row, Record) for row in rows):
            raise ResultsError(f"{file_of(self.name)}: 'rows' is not a list of objects")
        return rows

    @property
    def device(self) -> str:
        """The device's name, as people write it."""
        return str(self.content["device"]).replace("(R)", "").replace("(TM)", "")

    def digest(self) -> str:
        """Of what the file says, whatever its layout."""
        text = json.dumps(self.content, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()


def file_of(name: str) -> str:
    """Where the results of that name are, from the repository's root."""
    return (FOLDER / f"{name}.json").as_posix()


def read_results(root: Path) -> dict[str, Results]:
    """All of them by name."""
    return {path.stem: _read(path) for path in sorted((root / FOLDER).glob("*.json"))}


def _read(path: Path) -> Results:
    file = file_of(path.stem)
    try:
        content = json.loads(path.read_text(), object_hook=lambda found: Record(file, found))
    except ValueError as error:
        raise ResultsError(f"{file}: not JSON: {error}") from error
    if not isinstance(content, Record):
        raise ResultsError(f"{file}: not a JSON object")
    return Results(path.stem, content)
