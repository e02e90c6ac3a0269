"""Options as plain nested values, as in YAML."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

LARGEST_SEED = 2**63 - 1
MAPPINGS = ("model.texts",)  # options whose value may be a mapping, not a group of options


def brief(value: Any) -> str:
    """A value for a message: not of thousands of digits or characters."""
    try:
        text = str(value)
    except ValueError:  # of more digits than Python writes
        return "a number of thousands of digits"
    return text if len(text) <= 80 else f"{text[:80]}..."


def flat(options: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Nested options one by one, such as ``("data.mix.fmix", 0.3)``."""
    for key, value in options.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping) and name not in MAPPINGS:
            yield from flat(value, f"{name}.")
        else:
            yield name, value


def nested(options: Mapping[str, Any]) -> dict[str, Any]:
    """The inverse of flat()."""
    whole: dict[str, Any] = {}
    for key, value in options.items():
        *groups, last = key.split(".")
        place = whole
        for group in groups:
            place = place.setdefault(group, {})
        place[last] = value
    return whole


def plain(value: Any) -> Any:
    """Only what YAML knows; paths absolute, since a run is continued from anywhere."""
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return str(value.absolute()) if isinstance(value, Path) else value
