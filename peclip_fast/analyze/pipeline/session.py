"""One video, from frames to rows."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from statistics import median
from typing import Protocol

import numpy as np

from peclip_fast.analyze.pipeline.classify import Deliver
from peclip_fast.analyze.pipeline.ledger import Ledger
from peclip_fast.analyze.pipeline.looking import CutFinder, LookedAt
from peclip_fast.analyze.pipeline.windows import Taken, TrackWindows, Window, WindowOptions
from peclip_fast.analyze.results import FaceRow, Probabilities, TrackRow, WindowRow
from peclip_fast.faces.geometry import Array
from peclip_fast.faces.track import Track, TrackedPerson, Tracker

_SLACK = 0.1  # seconds that a row waits longer than the longest window


class Rows(Protocol):
    """What gets a video's rows as they become final."""

    def frame(self, row: FaceRow) -> None:
        """Of a face in a frame, in the order of frames."""

    def window(self, row: WindowRow) -> None:
        """Of a window, as they are classified."""

    def track(self, row: TrackRow) -> None:
        """Of a person who is gone for good."""

    def cut(self, time: float) -> None:
        """A new scene begins."""


class Windows(Protocol):
    """What windows wait in."""

    def put(self, window: Window, deliver: Deliver) -> None:
        """Add one."""

    def poll(self) -> None:
        """Deliver what is ready."""


@dataclass
class _Life:
    """What is known of a person so far."""

    start: float
    end: float
    first: int
    last: int
    frames: int = 0
    windows: int = 0
    total: Array | None = None
    pending: int = 0
    gone: bool = False


class Session:
    """Follows the faces of one video and says what they show.

    Args:
        rows: gets the rows.
        queue: classifies windows, of other sessions too.
        options: of the windows.
        taken: how the model takes them.
        classes: names, in the order of probabilities.
        smooth: seconds over which a track's probabilities are smoothed; 0 leaves them.
    """

    def __init__(
        self,
        rows: Rows,
        queue: Windows,
        options: WindowOptions,
        taken: Taken,
        classes: tuple[str, ...],
        smooth: float = 0.0,
    ) -> None:
        self._rows, self._queue, self._options, self._taken = rows, queue, options, taken
        self._keeps = math.exp(-options.stride / smooth) if smooth else 0.0
        self._smoothed: dict[Track, Array] = {}
        self._tracker, self._cuts = Tracker(), CutFinder()
        self._ledger = Ledger(options, classes)
        self._waits = 0.0  # seconds after which no new window can hold a frame
        self._open: dict[Track, TrackWindows] = {}
        self._lives: dict[TrackedPerson, _Life] = {}
        self._early: dict[Track, _Life] = {}  # of tracks whose person isn't known yet
        self._outside: list[float] = []
        self.frames = 0  # that were looked at
        self.pending = 0  # windows on their way
        self.time: float | None = None  # of the last frame
        self._abandoned = False

    def push(self, looked: LookedAt) -> list[tuple[Track, int]]:
        """Take the next frame; gives its faces' tracks, each with its place in ``looked.faces``."""
        number, time, image = looked.frame
        self.time = time
        if self._cuts.is_cut(looked.thumb):
            self._rows.cut(time)
            self._tracker.cut()
            self._leave_all()
        found = self._tracker.update(time, looked.faces)
        for ended in [track for track in self._open if track.ended]:
            self._close(ended)
        placed: list[tuple[Track, int]] = []
        for place, (track, seen) in enumerate(zip(found, looked.faces, strict=True)):
            if track is None:
                continue
            placed.append((track, place))
            if track not in self._open:
                self._open[track] = TrackWindows(track, self._options, self._taken)
            self._saw(track, number, time)
            self._send(self._open[track].add(number, time, image, seen))
        faces = {
            track: (looked.faces[k].face.corner, looked.faces[k].face.score) for track, k in placed
        }
        self._ledger.frame(number, time, faces)
        self.frames += 1
        self._queue.poll()
        self._waits = max(self._waits, self._options.seconds + self._tracker.hidden + _SLACK)
        self._settle(time - self._waits)
        return placed

    def end(self) -> None:
        """No frame comes any more. Once ``pending`` is 0, ``finish`` gives the last rows."""
        self._tracker.cut()
        self._leave_all()

    def finish(self) -> None:
        """Give the last rows; nothing may be pending."""
        self._settle(math.inf)

    def abandon(self) -> None:
        """Want no rows any more, as the video can't be read to its end."""
        self._abandoned = True

    @property
    def outside(self) -> float:
        """Which share of the crops lay outside of the frame, in the median."""
        return median(self._outside) if self._outside else 0.0

    def _saw(self, track: Track, number: int, time: float) -> None:
        """Count a face for its person, or for its track until the person is known."""
        person = track.person
        if person is None:
            life = self._early.setdefault(track, _Life(time, time, number, number))
        else:
            early = self._early.pop(track, None) or _Life(time, time, number, number)
            life = self._lives.setdefault(person, early)
            if life is not early:  # who was here before
                life.frames += early.frames
        life.end, life.last = time, number
        life.frames += 1

    def _send(self, windows: Iterable[Window]) -> None:
        for window in windows:
            assert window.track.person is not None  # no others are made
            self._ledger.awaits(window)
            self._lives[window.track.person].pending += 1
            self.pending += 1
            self._queue.put(window, self._classified)

    def _classified(self, window: Window, probabilities: Probabilities | None) -> None:
        person = window.track.person
        if self._abandoned or person is None:
            return
        life = self._lives[person]
        life.pending -= 1
        self.pending -= 1
        if probabilities is not None:
            values = np.asarray(probabilities)
            former = self._smoothed.get(window.track)
            if self._keeps and former is not None:
                values = self._keeps * former + (1 - self._keeps) * values
            self._smoothed[window.track] = values
            probabilities = tuple(values.tolist())
            life.total = values if life.total is None else life.total + values
            life.windows += 1
            self._rows.window(
                WindowRow(
                    person.number,
                    window.start,
                    window.end,
                    window.first_frame,
                    window.last_frame,
                    probabilities,
                )
            )
        self._ledger.classified(window, probabilities)

    def now(self, track: Track) -> Probabilities | None:
        """What the last window of a track has shown."""
        values = self._smoothed.get(track)
        return None if values is None else tuple(values.tolist())

    def _close(self, track: Track) -> None:
        windows = self._open.pop(track)
        if track.person is not None:
            self._outside += windows.outside[: max(0, 1000 - len(self._outside))]
        self._send(windows.end())
        self._early.pop(track, None)

    def _leave_all(self) -> None:
        """Close all tracks; nobody comes back."""
        for track in [*self._open]:
            self._close(track)
        for life in self._lives.values():
            life.gone = True

    def _settle(self, before: float) -> None:
        for row in self._ledger.settled(before):
            self._rows.frame(row)
        over = [p for p, life in self._lives.items() if life.gone and not life.pending]
        for person in sorted(over, key=lambda person: person.number):
            self._rows.track(_row(person, self._lives.pop(person)))
        # Of a track that is over nothing is needed once its last window has come.
        for track in [t for t in self._smoothed if t.ended and not self._awaited(t)]:
            del self._smoothed[track]

    def _awaited(self, track: Track) -> bool:
        """Whether a window of a track's person is on its way."""
        life = self._lives.get(track.person) if track.person else None
        return life is not None and life.pending > 0


def _row(person: TrackedPerson, life: _Life) -> TrackRow:
    mean = None if life.total is None else tuple((life.total / life.windows).tolist())
    return TrackRow(
        person.number, life.start, life.end, life.first, life.last, life.frames, life.windows, mean
    )
