"""Rows of frames, kept until nothing can change them any more."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from peclip_fast.analyze.pipeline.shown import ShownClasses, certain_after
from peclip_fast.analyze.pipeline.windows import Window, WindowOptions
from peclip_fast.analyze.results import FaceRow, Probabilities
from peclip_fast.faces.box import Box
from peclip_fast.faces.geometry import Array
from peclip_fast.faces.track import Track


@dataclass
class _FaceEntry:
    box: Box
    score: float
    total: Array | None = None  # of the probabilities of the windows that hold the frame
    windows: int = 0


@dataclass
class _FrameEntry:
    number: int
    time: float
    faces: dict[Track, _FaceEntry] = field(default_factory=dict)


@dataclass
class _Spanned:
    """From which frame to which a track was there."""

    first: int
    last: int


class Ledger:
    """The frames of one video whose rows may still change.

    Args:
        options: of the windows.
        classes: names, in the order of probabilities.
    """

    def __init__(self, options: WindowOptions, classes: tuple[str, ...]) -> None:
        self._options, self._classes = options, classes
        self._frames: deque[_FrameEntry] = deque()
        self._spans: dict[Track, _Spanned] = {}
        self._pending: dict[Window, float] = {}
        self._shown: dict[Track, ShownClasses] = {}

    def frame(self, number: int, time: float, faces: dict[Track, tuple[Box, float]]) -> None:
        """A frame and the faces in it; tracks that nobody believes in the end are left out."""
        entries = {track: _FaceEntry(box, score) for track, (box, score) in faces.items()}
        self._frames.append(_FrameEntry(number, time, entries))
        for track in faces:
            self._spans.setdefault(track, _Spanned(number, number)).last = number

    def awaits(self, window: Window) -> None:
        """A window of these frames is on its way."""
        self._pending[window] = window.start

    def classified(self, window: Window, probabilities: Probabilities | None) -> None:
        """It has come; None if it was dropped."""
        del self._pending[window]
        if probabilities is None:
            return
        shown = self._shown.setdefault(window.track, ShownClasses(self._options))
        shown.add(window, probabilities)
        for entry in self._frames:
            face = entry.faces.get(window.track)
            if face is not None and window.first_frame <= entry.number <= window.last_frame:
                total = np.asarray(probabilities)
                face.total = total if face.total is None else face.total + total
                face.windows += 1

    def settled(self, before: float) -> Iterator[FaceRow]:
        """The rows that are final, in order; new windows begin no earlier than that moment."""
        before = min([before, *self._pending.values()]) - certain_after(self._options)
        while self._frames and self._frames[0].time < before:
            yield from self._rows(self._frames.popleft())
        if self._frames:
            head = self._frames[0].number
            for track in [t for t, span in self._spans.items() if t.ended and span.last < head]:
                del self._spans[track]
                self._shown.pop(track, None)

    def _rows(self, entry: _FrameEntry) -> Iterator[FaceRow]:
        rows = []
        for track, span in self._spans.items():
            if track.person is None or not span.first <= entry.number <= span.last:
                continue
            face, person = entry.faces.get(track), track.person.number
            if face is None:
                rows.append(FaceRow(entry.number, entry.time, person))
                continue
            mean = shown = None
            if face.total is not None:
                mean = tuple((face.total / face.windows).tolist())
                shown = self._classes[self._shown[track].at(entry.time)]
            rows.append(
                FaceRow(entry.number, entry.time, person, face.box, face.score, mean, shown)
            )
        yield from sorted(rows, key=lambda row: row.track or 0)
        if not rows:
            yield FaceRow(entry.number, entry.time)
