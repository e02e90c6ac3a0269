"""Options as plain nested values, as in YAML."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

MAPPINGS = ("model.texts",)  # options whose value may be a mapping, not a group of options


def hint(name: str, known: Sequence[str]) -> str:
    """A suggestion for a name that isn't known: of the same last part, or else a similar one."""
    last = name.lstrip("-").split(".")[-1]
    same = [k for k in known if k.split(".")[-1].lstrip("-") == last]
    close = same or get_close_matches(name, known, n=1)
    if not close:
        parts = {k.split(".")[-1].lstrip("-"): k for k in known}
        close = [parts[part] for part in get_close_matches(last, parts, n=1)]
    return f"; did you mean {close[0]}?" if close else ""


def flat(options: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in options.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping) and name not in MAPPINGS:
            yield from flat(value, f"{name}.")
        else:
            yield name, value


def plain(value: Any) -> Any:
    """Only what YAML knows; paths absolute, since a run is continued from anywhere."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return str(value.absolute()) if isinstance(value, Path) else value
