"""JSON lines ``{"clip": ..., "text": ...}``: a description of each clip."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

from peclip_fast.data.lists import components
from peclip_fast.data.records import ClipRecord
from peclip_fast.data.textfile import read_lines
from peclip_fast.errors import InputError
from peclip_fast.files import write_text


def clip_name(record: ClipRecord) -> str:
    """A clip's name in such files: its path, and ``#t=start,end`` for a part of a file."""
    if record.start is None and record.end is None:
        return str(record.path)
    return (
        f"{record.path}#t={record.start or 0:g},{'' if record.end is None else f'{record.end:g}'}"
    )


def read_descriptions(path: Path, records: Sequence[ClipRecord]) -> list[str | None]:
    """The text of each record, None where the file has none; those are counted in a warning.

    Paths of another disk are matched by as many trailing components as the first line that is
    found has in common with a record.

    Raises:
        InputError: a broken line, a clip that comes twice, or one of no record; names
            ``file:line``.
    """
    tails: dict[tuple[str, ...], set[str]] = {}
    for name in {clip_name(record) for record in records}:
        parts = components(name)
        for start in range(len(parts)):
            tails.setdefault(tuple(parts[start:]), set()).add(name)
    keep: int | None = None
    texts: dict[str, str] = {}
    for source, line in read_lines(path):
        clip, text = _fields(source, line)
        parts = components(clip)
        if keep is None:
            lengths = range(len(parts), 0, -1)
            keep = next((k for k in lengths if tuple(parts[-k:]) in tails), None)
        found = tails.get(tuple(parts[-(keep or len(parts)) :]), set())
        if len(found) != 1:
            what = "fits several clips" if found else "is no clip"
            raise InputError(f"{source}: '{clip}' {what} of the dataset")
        name = next(iter(found))
        if name in texts:
            raise InputError(f"{source}: '{clip}' has a text already; expected one line per clip")
        texts[name] = text
    aligned = [texts.get(clip_name(record)) for record in records]
    if missing := aligned.count(None):
        warnings.warn(f"{path}: no text for {missing} of {len(records)} clips", stacklevel=2)
    return aligned


def write_descriptions(path: Path, texts: Mapping[str, str]) -> None:
    """A line for each clip's name and text."""
    rows = (json.dumps({"clip": c, "text": t}, ensure_ascii=False) for c, t in texts.items())
    write_text(path, "".join(f"{row}\n" for row in rows))


def _fields(source: str, line: str) -> tuple[str, str]:
    try:
        row = json.loads(line)
    except ValueError as error:
        raise InputError(f"{source}: broken JSON ({error})") from None
    for key in ("clip", "text"):
        if not isinstance(row, dict) or not isinstance(row.get(key), str) or not row[key]:
            raise InputError(f'{source}: expected {{"clip": ..., "text": ...}}, no text in "{key}"')
    return row["clip"], row["text"]
