"""JSON lines ``{"clip": ..., "text": ...}``: a description of each clip."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from peclip_fast.data.cues.clip_names import match_names
from peclip_fast.data.records import ClipRecord
from peclip_fast.errors import InputError
from peclip_fast.files import write_text
from peclip_fast.json_files import parse_json
from peclip_fast.text_files import read_lines


def read_descriptions(path: Path, records: Iterable[ClipRecord]) -> dict[str, str]:
    """``clip_name`` -> text, of the clips that the file has a text for.

    The file may hold other clips too, and may have been written on another disk (``match_names``).

    Raises:
        InputError: a broken line, a clip that comes twice, or no clip of the dataset at all; names
            ``file:line``.
    """
    rows = [(source, *_checked(source, line)) for source, line in read_lines(path)]
    if not rows:
        raise InputError(f'{path}: empty; expected a line {{"clip": ..., "text": ...}} a clip')
    names = match_names([(source, clip) for source, clip, _ in rows], records)
    return {name: row[2] for name, row in zip(names, rows, strict=True) if name is not None}


def write_descriptions(path: Path, texts: Mapping[str, str]) -> None:
    """A line for each clip's name and text."""
    rows = (json.dumps({"clip": c, "text": t}, ensure_ascii=False) for c, t in texts.items())
    write_text(path, "".join(f"{row}\n" for row in rows))


@dataclass(frozen=True)
class _Description:
    """A line of the file."""

    clip: str
    text: str


def _checked(source: str, line: str) -> tuple[str, str]:
    row = parse_json(line, source, _Description)
    for key, text in asdict(row).items():
        if not text.strip():
            raise InputError(f'{source}: expected {{"clip": ..., "text": ...}}, no text in "{key}"')
    return row.clip, row.text.encode(errors="replace").decode()  # halves of surrogate pairs
