"""Analyses made by hand: small, with whatever can be in one, and as files."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from peclip_fast.analyze.results import (
    Analysis,
    FaceRow,
    Probabilities,
    TrackRow,
    WindowRow,
    top_class,
)
from peclip_fast.faces.box import Box

CLASSES = ("happiness", "sadness", "anger")
RATE = 10  # frames a second
SURE: dict[str, Probabilities] = {
    "happiness": (0.8, 0.1, 0.1), "sadness": (0.2, 0.7, 0.1), "anger": (0.0, 0.4, 0.6),
}  # fmt: skip


def an_analysis(source: str = "talk.mp4", people: int = 2, frames: int = 60) -> Analysis:
    """People side by side; the first is hidden for a while and changes once, the others come later
    and show anger. In the last five frames there is nobody."""
    rows: list[FaceRow] = []
    seen = frames - 5
    for frame in range(frames):
        here = []
        for track in range(1, people + 1):
            first = 3 * (track - 1)
            if not first <= frame < seen:
                continue
            name = "anger" if track > 1 else "happiness" if frame < seen // 2 else "sadness"
            hidden = track == 1 and 10 <= frame < 14
            box = None if hidden else Box(10.0 + 40 * (track - 1), 12.5, 24.0, 30.0)
            here.append(FaceRow(frame, frame / RATE, track, box, None if hidden else 0.9,
                                SURE[name], name))  # fmt: skip
        rows += here or [FaceRow(frame, frame / RATE)]
    windows, tracks = [], []
    for track in range(1, people + 1):
        first, last = 3 * (track - 1), seen - 1
        names = ("happiness", "sadness") if track == 1 else ("anger", "anger")
        for name, (a, b) in zip(names, ((first, seen // 2 - 1), (seen // 2, last)), strict=True):
            windows.append(WindowRow(track, a / RATE, b / RATE, a, b, SURE[name]))
        count = sum(row.track == track and row.success for row in rows)
        tracks.append(TrackRow(track, first / RATE, last / RATE, first, last, count, 2,
                               SURE[names[0]]))  # fmt: skip
    about = {
        "source": source, "classes": list(CLASSES), "cuts": [2.0], "speech": [[0.5, 1.5]],
        "model": "runs/demo", "stride": 0.5, "detector": {"name": "BlazeFace"},
    }  # fmt: skip
    return Analysis(source, CLASSES, rows, windows, tracks, (2.0,), ((0.5, 1.5),), about)


def renamed(analysis: Analysis, classes: tuple[str, ...]) -> Analysis:
    """The same with other names of the classes."""
    names = dict(zip(analysis.classes, classes, strict=True))
    rows = [replace(r, prediction=names.get(r.prediction or "")) for r in analysis.frames]
    return replace(analysis, classes=classes, frames=rows)


def nobody(frames: int = 20) -> Analysis:
    """A video without a face."""
    rows = [FaceRow(frame, frame / RATE) for frame in range(frames)]
    about = {"source": "empty.mp4", "classes": list(CLASSES), "cuts": [], "speech": None}
    return Analysis("empty.mp4", CLASSES, rows, [], [], (), None, about)


def write_folder(folder: Path, analysis: Analysis) -> Path:
    """The four files of an analysis."""
    folder.mkdir(parents=True, exist_ok=True)
    of_classes = [f"p_{name}" for name in analysis.classes]
    box = ["FaceRectX", "FaceRectY", "FaceRectWidth", "FaceRectHeight"]
    span = ["start", "end", "first_frame", "last_frame"]

    def values(probabilities: Probabilities | None, prediction: str | None = None) -> list[object]:
        return [prediction or top_class(analysis.classes, probabilities),
                *(probabilities or [None] * len(analysis.classes))]  # fmt: skip

    def spoken(time: float) -> list[object]:
        if analysis.speech is None:
            return []
        return [int(any(start <= time < end for start, end in analysis.speech))]

    _write(
        folder / "frames.csv",
        ["frame", "timestamp", "track", "success", *box, "FaceScore", "prediction", *of_classes,
         *(["speech"] if analysis.speech is not None else [])],
        [[r.frame, r.timestamp, r.track, int(r.success), *(r.box or [None] * 4), r.score,
          *values(r.probabilities, r.prediction), *spoken(r.timestamp)] for r in analysis.frames],
    )  # fmt: skip
    numbers: dict[int, int] = {}
    rows = []
    for w in analysis.windows:
        number = numbers[w.track] = numbers.get(w.track, -1) + 1
        rows.append([w.track, number, w.start, w.end, w.first_frame, w.last_frame,
                     *values(w.probabilities)])  # fmt: skip
    _write(folder / "windows.csv", ["track", "window", *span, "prediction", *of_classes], rows)
    _write(
        folder / "tracks.csv", ["track", *span, "frames", "windows", "prediction", *of_classes],
        [[t.track, t.start, t.end, t.first_frame, t.last_frame, t.frames, t.windows,
          *values(t.probabilities)] for t in analysis.tracks],
    )  # fmt: skip
    (folder / "run.json").write_text(json.dumps(analysis.about))
    return folder


def _write(path: Path, heading: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(heading)
        writer.writerows(rows)
