"""Looking for bad clips before a run does."""

from __future__ import annotations

import csv
import functools
import io
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from peclip_fast.data.decoding.clip_source import ClipSource, open_clip_source
from peclip_fast.data.media import PassedOver, frame_names, in_words
from peclip_fast.data.processes import Lost, over_clips
from peclip_fast.data.records import ClipRecord, DatasetSplits
from peclip_fast.data.splits import place
from peclip_fast.errors import InputError

BAD = ("missing", "undecodable", "inconsistent", "miscounted")
ALLOWED = ("short", "duplicate", "passed over")


class Finding(NamedTuple):
    """One thing about one clip.

    Args:
        split: train, test, or nothing.
        path: of the clip.
        kind: missing, undecodable, inconsistent (a frame that is read out of order differs from
            the same frame read in order), or miscounted (the list says another number of frames);
            short (fewer frames than are taken, which is allowed), duplicate (a test clip that is
            also a training clip), or passed over (files in its folder that are no frames; or, of no
            split, what lies among the clips and is none).
        reason: in words.
        source: ``file:line`` (or folder) that named the clip.
    """

    split: str
    path: str
    kind: str
    reason: str
    source: str


def find(
    splits: DatasetSplits, frames: int, quick: bool, processes: int, seconds: float
) -> list[Finding]:
    """All findings, in the order of the lists.

    Args:
        splits: the clips.
        frames: how many are taken of a clip.
        quick: look only at headers and file names, not at every frame.
        processes: that read clips.
        seconds: time for one clip.
    """
    clips = [("train", record) for record in splits.train]
    clips += [("test", record) for record in splits.test]
    look = functools.partial(look_at, frames=frames, quick=quick)
    found: dict[int, list[tuple[str, str]]] = {}
    for index, seen in over_clips(look, [r for _, r in clips], processes, seconds, "checking"):
        found[index] = [("undecodable", seen.reason)] if isinstance(seen, Lost) else seen
    trained = {place(record): record for record in splits.train}
    for index, (split, record) in enumerate(clips):
        if split == "test" and place(record) in trained:
            found[index].append(("duplicate", f"also in train: {trained[place(record)].source}"))
    findings = [
        Finding(split, str(record.path), kind, reason, record.source)
        for index, (split, record) in enumerate(clips)
        for kind, reason in found[index]
    ]
    return findings + [
        Finding("", str(path), "passed over", reason, str(path.parent))
        for path, reason in splits.passed_over
    ]


def look_at(record: ClipRecord, frames: int, quick: bool) -> list[tuple[str, str]]:
    """(kind, reason) of all that is to be said about one clip."""
    try:
        if not record.path.exists():
            return [("missing", "no such video file or frame folder")]
        source = open_clip_source(record.path, record.start, record.end)
    except (InputError, OSError) as error:
        return [("undecodable", _reason(error, record))]
    count = source.num_frames
    found = []
    passed: list[PassedOver] = []
    if record.path.is_dir():
        frame_names(record.path, passed)
    if passed:
        found.append(("passed over", in_words(passed)))
    if record.num_frames not in (None, count):
        found.append(("miscounted", f"{count} frames on disk, the list says {record.num_frames}"))
    if count < frames:
        found.append(("short", f"{count} frames, fewer than {frames}"))
    try:
        for number in () if quick else _inconsistent(source):
            found.append(("inconsistent", f"frame {number} differs when it is read out of order"))
    except (InputError, OSError) as error:
        found.append(("undecodable", _reason(error, record)))
    finally:
        source.close()
    return found


def _inconsistent(source: ClipSource) -> list[int]:
    """Decodes every frame, and some of them once more in another order: those that differ.

    Raises:
        InputError: a frame can't be decoded.
    """
    some = sorted({source.num_frames * quarter // 4 for quarter in (3, 2, 1)}, reverse=True)
    images = {number: image for number, image in enumerate(source.frames()) if number in some}
    again = source.read(some)
    return [n for n, image in zip(some, again, strict=True) if not np.array_equal(image, images[n])]


def as_csv(findings: Iterable[Finding]) -> str:
    """A CSV file with the fields of a finding as columns."""
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(Finding._fields)
    rows.writerows(findings)
    return text.getvalue()


def as_table(findings: Iterable[Finding], splits: DatasetSplits, frames: int) -> str:
    """How many clips of each split are what."""
    found = list(findings)
    remarks = {
        "short": f"  (under {frames} frames: allowed)",
        "duplicate": "  (in train and test)",
        "passed over": "  (clips with files that are no frames)",
    }
    lines = [f"{'':<12}{'train':>8}{'test':>8}"]
    lines += [f"{'clips':<12}{len(splits.train):>8}{len(splits.test):>8}"]
    for kind in (*BAD, *ALLOWED):
        train, test = (
            sum(finding.kind == kind and finding.split == split for finding in found)
            for split in ("train", "test")
        )
        lines.append(f"{kind:<12}{train:>8}{test:>8}{remarks.get(kind, '')}")
    if splits.passed_over:
        lines.append(f"no clips: {in_words(splits.passed_over)}")
    return "\n".join(lines)


def _reason(error: Exception, record: ClipRecord) -> str:
    text = (error.strerror if isinstance(error, OSError) else None) or str(error)
    return text.removeprefix(f"{record.path}: ")
