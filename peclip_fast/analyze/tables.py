"""The tables of one source, written row by row, and run.json, which says that they are whole."""

from __future__ import annotations

import bisect
import csv
import io
import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from peclip_fast.analyze.results import (
    FaceRow,
    Probabilities,
    TrackRow,
    WindowRow,
    prediction_of,
    top_class,
)
from peclip_fast.errors import InputError
from peclip_fast.files import clear_partial, naming, write_text
from peclip_fast.json_files import read_json

FRAMES, WINDOWS, TRACKS, ABOUT = "frames.csv", "windows.csv", "tracks.csv", "run.json"
BOX = ("FaceRectX", "FaceRectY", "FaceRectWidth", "FaceRectHeight")
CLASS = "p_"  # in front of a class's name: the column of its probability
_SPAN = ("start", "end", "first_frame", "last_frame")
COLUMNS = {
    FRAMES: ("frame", "timestamp", "track", "success", *BOX, "FaceScore", "prediction"),
    WINDOWS: ("track", "window", *_SPAN, "prediction"),
    TRACKS: ("track", *_SPAN, "frames", "windows", "prediction"),
}
"""Of each table; those of the classes follow, and in FRAMES perhaps ``speech``."""
_AT_ONCE = 64  # rows

Speech = Sequence[tuple[float, float]]


class Collector:
    """Keeps rows in memory; ``Rows`` of a session."""

    def __init__(self) -> None:
        self.frames: list[FaceRow] = []
        self.windows: list[WindowRow] = []
        self.tracks: list[TrackRow] = []
        self.cuts: list[float] = []

    def frame(self, row: FaceRow) -> None:
        """As of Rows."""
        self.frames.append(row)

    def window(self, row: WindowRow) -> None:
        """As of Rows."""
        self.windows.append(row)

    def track(self, row: TrackRow) -> None:
        """As of Rows."""
        self.tracks.append(row)

    def cut(self, time: float) -> None:
        """As of Rows."""
        self.cuts.append(time)


class TableWriter:
    """Writes the rows of a session into a folder; ``Rows`` of it.

    Rows reach their file whole, many at a time. What an earlier, unfinished analysis has left in
    the folder is written over.

    Args:
        folder: is made if it isn't there.
        classes: of the model, in the order of probabilities.
        speech: when somebody speaks, for the column ``speech``; None leaves it out.

    Raises:
        OSError: the folder can't be written.
    """

    def __init__(self, folder: Path, classes: Sequence[str], speech: Speech | None = None) -> None:
        self.folder, self.classes, self.speech = folder, tuple(classes), speech
        self.cuts: list[float] = []
        self.people = self.faces = self.rows = 0
        folder.mkdir(parents=True, exist_ok=True)
        (folder / ABOUT).unlink(missing_ok=True)
        clear_partial([folder / ABOUT])
        of_classes = [f"{CLASS}{name}" for name in classes]
        last = [] if speech is None else ["speech"]
        self._frames = _Table(folder / FRAMES, [*COLUMNS[FRAMES], *of_classes, *last])
        self._windows = _Table(folder / WINDOWS, [*COLUMNS[WINDOWS], *of_classes])
        self._tracks = _Table(folder / TRACKS, [*COLUMNS[TRACKS], *of_classes])
        self._numbers: dict[int, int] = {}  # windows of each track so far

    def frame(self, row: FaceRow) -> None:
        """As of Rows."""
        box = [""] * 4 if row.box is None else [f"{value:.2f}" for value in row.box]
        score = "" if row.score is None else f"{row.score:.4f}"
        cells = [row.frame, f"{row.timestamp:.6f}", "" if row.track is None else row.track]
        said = [] if self.speech is None else [int(_within(row.timestamp, self.speech))]
        of_classes = self._of_classes(row.probabilities, prediction_of(self.classes, row))
        self._frames.add([*cells, int(row.success), *box, score, *of_classes, *said])
        self.rows += 1
        self.faces += row.success

    def window(self, row: WindowRow) -> None:
        """As of Rows."""
        number = self._numbers[row.track] = self._numbers.get(row.track, -1) + 1
        of_classes = self._of_classes(row.probabilities)
        self._windows.add([row.track, number, *_span(row), *of_classes])

    def track(self, row: TrackRow) -> None:
        """As of Rows."""
        self.people += 1
        self._numbers.pop(row.track, None)
        of_classes = self._of_classes(row.probabilities)
        self._tracks.add([row.track, *_span(row), row.frames, row.windows, *of_classes])

    def cut(self, time: float) -> None:
        """As of Rows."""
        self.cuts.append(time)

    def close(self, about: dict[str, Any] | None = None) -> None:
        """End the tables; with ``about``, the rest of run.json, they are whole."""
        for table in (self._frames, self._windows, self._tracks):
            table.close(to_disk=about is not None)
        if about is not None:
            speech = None if self.speech is None else [list(pair) for pair in self.speech]
            whole = {
                "source": about["source"],
                "classes": list(self.classes),
                "cuts": [round(time, 6) for time in self.cuts],
                "speech": speech,
                **about,
            }
            write_text(self.folder / ABOUT, json.dumps(whole, indent=1, ensure_ascii=False) + "\n")

    def _of_classes(
        self, probabilities: Probabilities | None, prediction: str | None = None
    ) -> list[str]:
        if probabilities is None:
            return [""] * (1 + len(self.classes))
        return [
            prediction or top_class(self.classes, probabilities) or "",
            *(f"{value:.6f}" for value in probabilities),
        ]


def finished(folder: Path) -> dict[str, Any] | None:
    """run.json of a folder; None where its analysis isn't finished.

    Raises:
        InputError: it is damaged; names it.
    """
    path = folder / ABOUT
    return read_json(path, dict[str, Any]) if path.is_file() else None


def check_same(folder: Path, about: dict[str, Any], asked: dict[str, Any]) -> None:
    """Raise InputError unless a finished analysis is what is asked for now; says what differs."""
    for key, value in asked.items():
        if about.get(key) != value:
            raise InputError(
                f"{folder}: holds an analysis with {key} {_short(about.get(key))}, not "
                f"{_short(value)}; choose another --output, or remove the folder"
            )


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 120 else f"{text[:120]}..."


def _span(row: WindowRow | TrackRow) -> Iterable[Any]:
    return f"{row.start:.6f}", f"{row.end:.6f}", row.first_frame, row.last_frame


def _within(time: float, speech: Speech) -> bool:
    number = bisect.bisect_right(speech, (time, float("inf"))) - 1
    return number >= 0 and time < speech[number][1]


class _Table:
    """A CSV file to which whole rows are added."""

    def __init__(self, path: Path, headings: Sequence[str]) -> None:
        self._path = path
        with naming(path):
            self._file = open(path, "wb", buffering=0)  # noqa: SIM115
        self._text = io.StringIO()
        self._writer = csv.writer(self._text, lineterminator="\n")
        self._waiting = 0
        self.add(headings)
        self._write()

    def add(self, cells: Sequence[Any]) -> None:
        self._writer.writerow(cells)
        self._waiting += 1
        if self._waiting >= _AT_ONCE:
            self._write()

    def _write(self) -> None:
        rows = self._text.getvalue().encode(errors="backslashreplace")
        with naming(self._path):
            while rows:  # all at once, but on a disk that is nearly full
                rows = rows[self._file.write(rows) :]
        self._text.seek(0)
        self._text.truncate()
        self._waiting = 0

    def close(self, to_disk: bool) -> None:
        if self._file.closed:
            return
        self._write()
        if to_disk:
            with naming(self._path):
                os.fsync(self._file.fileno())
        self._file.close()
