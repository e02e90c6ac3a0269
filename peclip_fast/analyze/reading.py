"""Reading what `peclip-fast analyze` wrote for a video: as pandas frames, or as typed rows."""

from __future__ import annotations

import csv
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from peclip_fast.analyze.results import Analysis, FaceRow, Probabilities, TrackRow, WindowRow
from peclip_fast.analyze.tables import ABOUT, BOX, CLASS, COLUMNS, FRAMES, TRACKS, WINDOWS
from peclip_fast.errors import InputError, one_line
from peclip_fast.faces.box import Box
from peclip_fast.json_files import read_json
from peclip_fast.text_files import shown

if TYPE_CHECKING:
    import pandas

_WHOLE = {"frame", "track", "success", "window", "first_frame", "last_frame", "frames", "windows"}
_WHOLE |= {"speech"}


@dataclass(frozen=True)
class AnalysisTables:
    """What was found in one video, the columns of the tables as in its CSV files.

    Args:
        source: of the video: a path or an address.
        classes: names.
        frames: a row for each frame and face, frames.csv.
        windows: a row for each window of each track, windows.csv.
        tracks: a row for each track, tracks.csv.
        cuts: when a new scene begins, in seconds.
        speech: from and to, in seconds; None where it wasn't asked for.
        about: run.json.
    """

    source: str
    classes: tuple[str, ...]
    frames: pandas.DataFrame
    windows: pandas.DataFrame
    tracks: pandas.DataFrame
    cuts: tuple[float, ...]
    speech: tuple[tuple[float, float], ...] | None
    about: dict[str, Any]


@dataclass(frozen=True)
class _Run:
    """What of run.json is needed to read the tables."""

    source: str
    classes: list[str]
    cuts: list[float]
    speech: list[list[float]] | None = None


def read_analysis(folder: str | Path) -> AnalysisTables | Analysis:
    """What `peclip-fast analyze` wrote for one video.

    Args:
        folder: with frames.csv, windows.csv, tracks.csv and run.json.

    Returns:
        AnalysisTables, whose `frames`, `windows` and `tracks` are pandas frames with the columns of
        the CSV files. Without pandas the Analysis of `read_results`, whose attributes have the
        same names and hold lists of typed rows.

    Raises:
        InputError: a file is missing or damaged; names it.
    """
    try:
        import pandas  # noqa: F401
    except ImportError:
        return read_results(folder)
    found = _about(Path(folder))
    frames, windows, tracks = (_pandas_table(Path(folder), n, found.classes) for n in COLUMNS)
    return AnalysisTables(
        found.source, found.classes, frames, windows, tracks, found.cuts, found.speech, found.about
    )


def read_results(folder: str | Path, lazily: bool = False) -> Analysis:
    """What `peclip-fast analyze` wrote for one video, as typed rows.

    Args:
        folder: with frames.csv, windows.csv, tracks.csv and run.json.
        lazily: read frames.csv anew each time that its rows are asked for, in constant memory,
            instead of keeping them.

    Raises:
        InputError: a file is missing or damaged; names it and the line. With ``lazily`` those of
            frames.csv come when it is read.
    """
    folder = Path(folder)
    found = _about(folder)
    frames = FrameTable(folder / FRAMES, found.classes)
    return replace(
        found,
        frames=frames if lazily else list(frames),
        windows=[_window(row) for row in _rows(folder / WINDOWS, found.classes)],
        tracks=[_track(row) for row in _rows(folder / TRACKS, found.classes)],
    )


class FrameTable(Collection[FaceRow]):
    """The rows of frames.csv, read anew for each walk through them.

    Args:
        path: of the file.
        classes: names, in the order of run.json.
    """

    def __init__(self, path: Path, classes: tuple[str, ...]) -> None:
        self._path = path
        self._classes = classes

    def __iter__(self) -> Iterator[FaceRow]:
        return (_face(row) for row in _rows(self._path, self._classes))

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __contains__(self, row: object) -> bool:
        return any(row == other for other in self)


def _about(folder: Path) -> Analysis:
    """run.json, without the tables."""
    if not folder.is_dir():
        raise InputError(f"{folder}: expected a folder that analyze has written")
    run, about = read_json(folder / ABOUT, _Run), read_json(folder / ABOUT, dict[str, Any])
    if not run.classes or len(set(run.classes)) < len(run.classes):
        raise InputError(f"{folder / ABOUT}: classes: expected names, each once")
    speech = run.speech
    if speech is not None and any(len(span) != 2 for span in speech):
        raise InputError(f"{folder / ABOUT}: speech: expected pairs of seconds")
    spans = None if speech is None else tuple((start, end) for start, end in speech)
    return Analysis(run.source, tuple(run.classes), [], [], [], tuple(run.cuts), spans, about)


class _Fields:
    """A row of a table, whose fields are taken by name."""

    def __init__(self, source: str, fields: dict[str, str], classes: tuple[str, ...]) -> None:
        self.source = source
        self.fields = fields
        self.classes = classes

    def number(self, column: str) -> float:
        """A finite number.

        Raises:
            InputError: it is none; names line and column.
        """
        text = self.fields[column]
        try:
            value = float(text)
        except ValueError:
            value = float("nan")
        if not abs(value) < float("inf"):
            raise InputError(f"{self.source}: {column}: expected a number, got {shown(text)}")
        return value

    def whole(self, column: str) -> int:
        """A whole number; raises as number() does."""
        value = self.number(column)
        if value != int(value):
            text = shown(self.fields[column])
            raise InputError(f"{self.source}: {column}: expected a whole number, got {text}")
        return int(value)

    def given(self, column: str) -> bool:
        """Whether there is anything in a field."""
        return bool(self.fields[column])

    def class_name(self, column: str) -> str:
        """One of the classes; raises as number() does."""
        text = self.fields[column]
        if text not in self.classes:
            raise InputError(f"{self.source}: {column}: expected a class, got {shown(text)}")
        return text

    def probabilities(self) -> Probabilities:
        """Of all classes."""
        return tuple(self.number(CLASS + name) for name in self.classes)


def _lines(path: Path) -> Iterator[tuple[str, list[str]]]:
    """(``file:line``, fields) of every row, one at a time in memory."""
    line = 1
    try:
        with open(path, encoding="utf-8", newline="") as file:
            rows = csv.reader(file, strict=True)
            for row in rows:
                yield f"{path}:{line}", row
                line = rows.line_num + 1
    except OSError as error:
        raise InputError(f"{path}: can't be read: {error.strerror}") from None
    except (csv.Error, UnicodeDecodeError) as error:
        raise InputError(f"{path}:{line}: not a row of a CSV file ({error})") from None


def _rows(path: Path, classes: tuple[str, ...]) -> Iterator[_Fields]:
    rows = _lines(path)
    source, heading = next(rows, (f"{path}:1", []))
    expected = [*COLUMNS[path.name], *(CLASS + name for name in classes)]
    if heading[: len(expected)] != expected or len(set(heading)) < len(heading):
        raise InputError(f"{source}: expected the columns {', '.join(expected)}")
    for source, fields in rows:
        if len(fields) != len(heading):
            raise InputError(f"{source}: expected {len(heading)} fields, got {len(fields)}")
        yield _Fields(source, dict(zip(heading, fields, strict=True)), classes)


def _face(row: _Fields) -> FaceRow:
    found = row.whole("success") == 1
    return FaceRow(
        row.whole("frame"),
        row.number("timestamp"),
        row.whole("track") if row.given("track") else None,
        Box(*(row.number(column) for column in BOX)) if found else None,
        row.number("FaceScore") if found and row.given("FaceScore") else None,
        row.probabilities() if row.given("prediction") else None,
        row.class_name("prediction") if row.given("prediction") else None,
    )


def _window(row: _Fields) -> WindowRow:
    return WindowRow(
        row.whole("track"), row.number("start"), row.number("end"),
        row.whole("first_frame"), row.whole("last_frame"), row.probabilities(),
    )  # fmt: skip


def _track(row: _Fields) -> TrackRow:
    return TrackRow(
        row.whole("track"), row.number("start"), row.number("end"),
        row.whole("first_frame"), row.whole("last_frame"), row.whole("frames"),
        row.whole("windows"), row.probabilities() if row.given("prediction") else None,
    )  # fmt: skip


def _pandas_table(folder: Path, name: str, classes: tuple[str, ...]) -> pandas.DataFrame:
    """A CSV file as a pandas frame; whole numbers stay whole where some are missing."""
    import pandas

    path = folder / name
    expected = [*COLUMNS[name], *(CLASS + label for label in classes)]
    kinds = {column: "Int64" for column in _WHOLE} | {"prediction": "string"}
    kinds |= {c: "float64" for c in expected if c not in kinds}
    try:
        table = pandas.read_csv(path, dtype=kinds, keep_default_na=False, na_values=[""])
    except OSError as error:
        raise InputError(f"{path}: can't be read: {error.strerror}") from None
    except (TypeError, ValueError) as error:  # pandas' own errors are of that kind
        raise InputError(f"{path}: not a table of analyze: {one_line(error)}") from None
    if list(table.columns)[: len(expected)] != expected:
        raise InputError(f"{path}:1: expected the columns {', '.join(expected)}")
    return table
