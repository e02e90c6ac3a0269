"""What a dataset holds, from the clip index where it knows the clips already."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from peclip_fast.config.texts import OUR_ACTION_UNITS, PUBLISHED_ACTION_UNITS
from peclip_fast.data.decoding.clip_source import locate_record
from peclip_fast.data.decoding.video_index import VideoIndex
from peclip_fast.data.processes import Lost, over_clips
from peclip_fast.data.records import ClipRecord, DatasetSplits
from peclip_fast.errors import InputError

_MOST_KINDS = 8  # resolutions or codecs that are named one by one
_BAD = "peclip-fast data check lists them"
_SPREAD = "least / median / most"


@dataclass(frozen=True)
class ClipFacts:
    """One clip in numbers.

    Args:
        frames: of the clip.
        seconds: its length; None for image files and where a video tells no times.
        height: of a frame, in pixels.
        width: of a frame, in pixels.
        codec: FFmpeg's name of a video's codec, or the kind of the image files.
    """

    frames: int
    seconds: float | None
    height: int
    width: int
    codec: str


def clip_facts(record: ClipRecord) -> ClipFacts | None:
    """The facts of a clip; None for a bad one."""
    try:
        index, part = locate_record(record)
    except (InputError, OSError):
        return None
    if not isinstance(index, VideoIndex):
        kind = Path(index.names[0]).suffix.lstrip(".").lower()
        return ClipFacts(len(part), None, index.height, index.width, f"{kind} files")
    times = index.seconds()
    # The last frame lasts as long as the others do on average.
    step = (times[-1] - times[0]) / (len(times) - 1) if times and len(times) > 1 else 0.0
    seconds = times[part[-1]] - times[part[0]] + step if times else None
    return ClipFacts(len(part), seconds, index.height, index.width, index.codec)


def all_facts(
    records: Sequence[ClipRecord], processes: int, seconds: float
) -> list[ClipFacts | None]:
    """The facts of every clip, None for a bad one."""
    facts: list[ClipFacts | None] = [None] * len(records)
    for index, found in over_clips(clip_facts, records, processes, seconds, "looking"):
        facts[index] = None if isinstance(found, Lost) else found
    return facts


def as_table(
    splits: DatasetSplits,
    texts: Sequence[str],
    facts: Sequence[ClipFacts | None],
    frames: int,
) -> str:
    """The summary for people.

    Args:
        splits: the clips.
        texts: what the text encoder reads for each class.
        facts: of the training clips and then of the test clips.
        frames: how many are taken of a clip.
    """
    halves = facts[: len(splits.train)], facts[len(splits.train) :]
    good = [[clip for clip in half if clip] for half in halves]
    counts = [Counter(record.label for record in half) for half in (splits.train, splits.test)]
    classes = [
        (name, *(count[label] for count in counts), f"{text} ({_origin(name, text)})")
        for label, (name, text) in enumerate(zip(splits.classes, texts, strict=True))
    ]
    clips = [
        ("frames", *(_spread([c.frames for c in half], ".0f") for half in good), _SPREAD),
        ("seconds", *(_spread([c.seconds for c in half], ".2f") for half in good), _SPREAD),
        (f"under {frames} frames", *(sum(c.frames < frames for c in half) for half in good), ""),
        ("unreadable", *(half.count(None) for half in halves), _BAD),
    ]
    sizes = _kinds([[f"{c.width}x{c.height}" for c in half] for half in good])
    codecs = _kinds([[c.codec for c in half] for half in good])
    parts: list[list[tuple[object, ...]]] = [
        [("class", "train", "test", "text"), *classes, ("all", *map(len, halves), "")],
        [("clips", "train", "test", ""), *clips],
        [("width x height", "train", "test", ""), *sizes],
        [("codec", "train", "test", ""), *codecs],
    ]
    widths = [max(len(str(row[k])) for part in parts for row in part) for k in range(3)]
    return "\n\n".join("\n".join(_line(row, widths) for row in part) for part in parts)


def _line(row: Sequence[object], widths: Sequence[int]) -> str:
    name, train, test, remark = row
    return f"{name:<{widths[0]}}  {train!s:>{widths[1]}}  {test!s:>{widths[2]}}  {remark}".rstrip()


def _origin(name: str, text: str) -> str:
    if text == PUBLISHED_ACTION_UNITS.get(name):
        return "published"
    return "ours" if text == OUR_ACTION_UNITS.get(name) else "given"


def _spread(values: Sequence[float | None], form: str) -> str:
    known = [value for value in values if value is not None]
    if not known:
        return "-"
    return " / ".join(f"{f(known):{form}}" for f in (min, statistics.median, max))


def _kinds(halves: Sequence[Sequence[str]]) -> list[tuple[str, int, int, str]]:
    """The most frequent kinds, and the others in one row."""
    train, test = map(Counter, halves)
    named = [name for name, _ in (train + test).most_common(_MOST_KINDS)]
    rows = [(name, train[name], test[name], "") for name in named]
    rest = [sum(half[name] for name in half if name not in named) for half in (train, test)]
    return rows + ([("others", rest[0], rest[1], "")] if any(rest) else [])
