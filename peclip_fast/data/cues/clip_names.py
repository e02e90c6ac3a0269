"""How files that come with a dataset name its clips, and which clip a name means."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from peclip_fast.data.datasets.lists import components
from peclip_fast.data.records import ClipRecord
from peclip_fast.errors import InputError
from peclip_fast.text_files import shown


def clip_name(record: ClipRecord, root: Path | None = None) -> str:
    """A clip's path with forward slashes, and ``#t=start,end`` for a part of a file.

    Where the clip lies below ``root``, the path is the one from there on, as for files that are to
    mean the same clips on another disk.
    """
    below = root is not None and record.path.is_relative_to(root)
    path = (record.path.relative_to(root) if root and below else record.path).as_posix()
    if record.start is None and record.end is None:
        return path
    # 12 digits tell microseconds apart in a file of days.
    end = "" if record.end is None else f"{record.end:.12g}"
    return f"{path}#t={record.start or 0:.12g},{end}"


def match_names(
    written: Sequence[tuple[str, str]], records: Iterable[ClipRecord]
) -> list[str | None]:
    """The ``clip_name`` that each name of a file means; None for clips of no record.

    Names may come from another disk: what counts are their last k components, where k is the most
    that any of them has in common with a clip.

    Args:
        written: ``file:line`` and the name there.
        records: of the dataset.

    Raises:
        InputError: no name is a clip's, one fits several clips, or two mean the same clip; names
            ``file:line``.
    """
    tails: dict[tuple[str, ...], set[str]] = {}
    for name in {clip_name(record) for record in records}:
        parts = tuple(components(name))
        for start in range(len(parts)):
            tails.setdefault(parts[start:], set()).add(name)
    names = [(source, tuple(components(name))) for source, name in written]
    longest = max((len(parts) for _, parts in names), default=0)
    lengths = range(min(longest, max(map(len, tails), default=0)), 0, -1)
    keep = next((k for k in lengths if any(len(p) >= k and p[-k:] in tails for _, p in names)), 0)
    if not keep:
        sources = f"{names[0][0]}: " if names else ""
        raise InputError(f"{sources}no name here is that of a clip of the dataset")
    matched: dict[str, str] = {}
    found: list[str | None] = []
    for source, parts in names:
        clips = tails.get(parts[-keep:], set())
        if len(clips) > 1:
            raise InputError(
                f"{source}: {shown('/'.join(parts))} fits several clips of the dataset"
            )
        clip = next(iter(clips), None)
        if clip in matched:
            raise InputError(f"{source}: a second line for the clip of {matched[clip]}")
        if clip is not None:
            matched[clip] = source
        found.append(clip)
    return found
