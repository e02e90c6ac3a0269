"""The cues of a dataset's clips, in a folder that ``peclip_fast.data.cue_store`` reads."""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from peclip_fast.data.cues.clip_names import clip_name
from peclip_fast.data.cues.store import (
    INDEX,
    Cues,
    IndexRow,
    cue_file,
    read_cues,
    read_note,
    write_cues,
    write_index,
)
from peclip_fast.data.decoding.clip_source import locate_record, open_record
from peclip_fast.data.decoding.stamps import content_stamp
from peclip_fast.data.records import ClipRecord
from peclip_fast.errors import InputError
from peclip_fast.faces.landmarks import LandmarkModel
from peclip_fast.prepare.cues.clip_cues import clip_cues
from peclip_fast.prepare.cues.parsing import Parsing, ParsingModel
from peclip_fast.prepare.make_files import make_files

TOPOLOGY = "polygons over the landmarks"
_LISTED = 10  # clips without a face that are named


class CueRun(NamedTuple):
    """What a run of the command has made.

    Args:
        clips: name -> record of all clips.
        rows: of the index: the clips that have cues.
        made: clips of this run; the others were there.
        bad: why each of the other clips has none.
        facts: what the cues were made with, and how many there are.
    """

    clips: dict[str, ClipRecord]
    rows: list[IndexRow]
    made: int
    bad: list[str]
    facts: dict[str, object]


def make_cues(
    records: Sequence[ClipRecord],
    root: Path | None,
    folder: Path,
    parsing: Parsing | None,
    processes: int,
    seconds: float,
    skip: bool,
) -> CueRun:
    """Writes the cues of clips that don't have them yet, then the index of all.

    Args:
        records: the clips; one that comes twice is looked at once.
        root: the dataset's folder, from which clips get their names.
        folder: where the cues go.
        parsing: finds the regions; None leaves them to the landmarks.
        processes: that work.
        seconds: time for one clip.
        skip: go on after a bad clip.

    Raises:
        InputError: a model can't be used; or the first bad clip, unless they are skipped.
        OSError: the folder can't be written.
    """
    clips = named_clips(records, root)
    origins = {"landmarks": LandmarkModel.origin(), "regions": str(parsing or TOPOLOGY)}
    if parsing is not None:
        origins["classes"] = " ".join(parsing.regions)
    work = functools.partial(_make, parsing=parsing, origins=origins)
    jobs = {folder / cue_file(name): record for name, record in clips.items()}
    done = make_files(work, jobs, processes, seconds, skip, "cues")
    rows, made, bad = [], 0, []
    for name, made_of in zip(clips, done.values(), strict=True):
        if isinstance(made_of, InputError):
            bad.append(str(made_of))
            continue
        rows.append(IndexRow(name, cue_file(name), made_of.frames, made_of.faces))
        made += made_of.now
    facts = {
        **origins,
        "clips": len(rows),
        "frames": sum(row.frames for row in rows),
        "frames_with_face": sum(row.faces for row in rows),
        "clips_without_face": sum(not row.faces for row in rows),
        "bad_clips": len(bad),
    }
    write_index(folder, rows, facts)
    return CueRun(clips, rows, made, bad, facts)


def named_clips(records: Iterable[ClipRecord], root: Path | None) -> dict[str, ClipRecord]:
    """Each clip under its name below ``root``, or below the folder that all share.

    So the names are good on another disk, and no two clips have one.
    """
    placed = [(os.path.abspath(record.path), record) for record in records]
    shared = os.path.commonpath([os.path.dirname(path) for path, _ in placed])
    if root is not None:
        above = os.path.abspath(root.expanduser())
        shared = above if os.path.commonpath([above, shared]) == above else shared
    return {
        clip_name(replace(record, path=Path(os.path.relpath(path, shared)))): record
        for path, record in placed
    }


def as_table(run: CueRun) -> str:
    """What became of the clips, for people."""
    frames, faces = (
        sum(getattr(row, column) for row in run.rows) for column in ("frames", "faces")
    )
    without = [row.clip for row in run.rows if not row.faces]
    share = f" ({faces / frames:.2%})" if frames else ""
    more = f"no face: and {len(without) - _LISTED} more: faces is 0 in {INDEX}"
    return "\n".join(
        [
            f"clips                {len(run.rows)}",
            f"made now             {run.made}",
            f"made before          {len(run.rows) - run.made}",
            f"frames               {frames}",
            f"frames with a face   {faces}{share}",
            f"clips without a face {len(without)}",
            f"landmarks by         {run.facts['landmarks']}",
            f"regions by           {run.facts['regions']}",
            *(f"no face: {name}" for name in without[:_LISTED]),
            *([more] if len(without) > _LISTED else []),
            *(f"skipped: {reason}" for reason in run.bad),
        ]
    )


class _Made(NamedTuple):
    frames: int
    faces: int
    now: bool


def _make(
    job: tuple[Path, ClipRecord], parsing: Parsing | None, origins: Mapping[str, str]
) -> _Made | InputError:
    """One clip's cues, written unless they are there, or why the clip can't be read."""
    target, record = job
    models = _opened(parsing)
    try:
        _, part = locate_record(record)
        clip = content_stamp(record.path)
        note = json.dumps({"frames": len(part), "clip": clip, **origins})
        cues = _kept(target, note, len(part))
        if cues is not None:
            return _Made(len(part), cues.faces, now=False)
        source = open_record(record)
        try:
            cues = clip_cues(source.frames(), *models)
        finally:
            source.close()
    except InputError as error:
        return error
    write_cues(target, cues, note)
    return _Made(len(part), cues.faces, now=True)


@functools.cache
def _opened(parsing: Parsing | None) -> tuple[LandmarkModel, ParsingModel | None]:
    """This process's models."""
    return LandmarkModel(), None if parsing is None else ParsingModel(parsing)


def _kept(path: Path, note: str, frames: int) -> Cues | None:
    """The whole content of a file that was made with the same; None if it must be made."""
    try:
        return read_cues(path, range(frames)) if read_note(path) == note else None
    except InputError:
        return None
