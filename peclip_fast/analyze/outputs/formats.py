"""What other programs read: JSON lines, BORIS, ELAN.

BORIS and ELAN get segments: a track's frames in a row with one prediction. Their times count from
where the file begins, as their players do.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import IO

from peclip_fast.analyze.outputs.digest import Segment, segments_of
from peclip_fast.analyze.outputs.eaf import eaf_xml
from peclip_fast.analyze.results import Analysis, FaceRow, Probabilities, prediction_of
from peclip_fast.errors import InputError
from peclip_fast.files import PARTIAL, naming

FIGURES = 6  # decimals of seconds and probabilities


def write_jsonl(analysis: Analysis, path: Path) -> None:
    """A line for each frame, with all of its faces.

    ``{"frame": 3, "timestamp": 0.1, "faces": [{"track": 1, "box": [x, y, width, height], "score":
    0.9, "prediction": "happiness", "probabilities": {"happiness": 0.8, ...}}]}``. A track that is
    hidden in a frame has null for its box and score, one without windows for its prediction.
    """
    _write(path, (json.dumps(frame, ensure_ascii=False) + "\n" for frame in _frames(analysis)))


def write_boris(analysis: Analysis, path: Path) -> None:
    """What BORIS 8 and 9 paste into an observation of a video, tab-separated, without a heading.

    Time, subject, code, modifier, comment and the frame's number; every segment is a state event
    and so has two lines, where it starts and where it stops. The last line doesn't end, as BORIS
    takes an empty line for a broken event. The project's subjects are ``track 1``, ``track 2`` and
    so on, with ``speech`` for sound, and its state events the classes and ``speech``.
    """
    analysis, segments = _as_played(analysis)
    events = [
        (time, last, f"track {segment.track}", segment.prediction, frame)
        for segment in segments
        for time, last, frame in (
            (segment.start, 1, str(segment.first_frame)),
            (segment.end, 0, str(segment.last_frame)),
        )
    ]
    for start, end in analysis.speech or ():
        events += [(start, 1, "speech", "speech", "NA"), (end, 0, "speech", "speech", "NA")]
    lines = [
        f"{time:.3f}\t{subject}\t{_cell(code)}\t\t\t{frame}"
        for time, _, subject, code, frame in sorted(events, key=lambda event: event[:3])
    ]
    _write(path, ["\n".join(lines)])


def write_eaf(analysis: Analysis, path: Path) -> None:
    """An annotation document of ELAN (EAF 3.0): a tier for each track, for speech and for cuts."""
    _write(path, [eaf_xml(*_as_played(analysis), path.parent)])


FORMATS: dict[str, tuple[str, Callable[[Analysis, Path], None]]] = {
    "jsonl": ("frames.jsonl", write_jsonl),
    "boris": ("boris.tsv", write_boris),
    "eaf": ("elan.eaf", write_eaf),
}
"""Each format's file and what writes it."""


def write_formats(analysis: Analysis, folder: Path, names: Iterable[str]) -> list[Path]:
    """Write an analysis in some formats, each whole or not at all; returns the files.

    Raises:
        InputError: there is no such format.
    """
    names = list(names)
    for name in names:
        if name not in FORMATS:
            raise InputError(f"format {name}: expected some of {', '.join(FORMATS)}")
    paths = []
    for name in names:
        file, write = FORMATS[name]
        write(analysis, folder / file)
        paths.append(folder / file)
    return paths


def _as_played(analysis: Analysis) -> tuple[Analysis, list[Segment]]:
    """The same with times that count from where the file begins, and its segments."""
    video = analysis.about.get("video")
    begins = video.get("start") if isinstance(video, dict) else None
    segments = segments_of(analysis)
    if not isinstance(begins, (int, float)) or not begins:
        return analysis, segments
    speech = analysis.speech and tuple((a - begins, b - begins) for a, b in analysis.speech)
    cuts = tuple(cut - begins for cut in analysis.cuts)
    segments = [replace(s, start=s.start - begins, end=s.end - begins) for s in segments]
    return replace(analysis, speech=speech, cuts=cuts), segments


def _frames(analysis: Analysis) -> Iterator[dict[str, object]]:
    number, faces, frame = None, list[object](), dict[str, object]()
    for row in analysis.frames:
        if row.frame != number:
            if number is not None:
                yield frame
            number, faces = row.frame, []
            frame = {"frame": row.frame, "timestamp": _short(row.timestamp), "faces": faces}
        if row.track is not None or row.success:
            faces.append(_as_json(row, analysis.classes))
    if number is not None:
        yield frame


def _as_json(row: FaceRow, classes: tuple[str, ...]) -> dict[str, object]:
    return {
        "track": row.track,
        "box": row.box and [_short(value) for value in row.box],
        "score": row.score if row.score is None else _short(row.score),
        "prediction": prediction_of(classes, row),
        "probabilities": _named(classes, row.probabilities),
    }


def _named(classes: tuple[str, ...], values: Probabilities | None) -> dict[str, float] | None:
    if values is None:
        return None
    return {name: _short(value) for name, value in zip(classes, values, strict=True)}


def _short(value: float) -> float:
    return round(value, FIGURES)


def _cell(text: str) -> str:
    """A class's name in one field of one line."""
    return " ".join(text.split())


def _write(path: Path, pieces: Iterable[str]) -> None:
    """Write aside and rename, a piece at a time."""
    side = path.with_name(f"{path.name}{PARTIAL}{os.getpid()}")
    try:
        with naming(path):
            file: IO[str]
            with open(side, "w", encoding="utf-8", errors="backslashreplace", newline="") as file:
                file.writelines(pieces)
                file.flush()
                os.fsync(file.fileno())
            os.replace(side, path)
    finally:
        side.unlink(missing_ok=True)
