"""An analysis made small: what the pictures, the page and the formats of other programs show.

It is made in two walks over the frames' rows, and holds as much for two hours as for two minutes,
but for the segments.
"""

from __future__ import annotations

import bisect
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from peclip_fast.analyze.results import Analysis, FaceRow, TrackRow, prediction_of
from peclip_fast.faces.box import Box

MOST_LANES = 8
CELLS = 24  # pictures of a face, over the whole time
BINS = 720  # places where probabilities are drawn, over the whole time


@dataclass(frozen=True)
class Segment:
    """A track's frames in a row with one prediction.

    `end` is when the next frame is shown, and `probability` the mean of the predicted class.
    """

    track: int
    prediction: str
    start: float
    end: float
    first_frame: int
    last_frame: int
    probability: float


@dataclass
class TrackDigest:
    """What of a track is drawn.

    Args:
        row: of tracks.csv.
        segments: in the order of time.
        hidden: from and to, where it goes on without a box.
        curve: (BINS, classes), mean probabilities in each bin; NaN where there are none.
        faces: for each of the CELLS the frame and the box nearest to its middle, if there is one.
    """

    row: TrackRow
    segments: list[Segment]
    hidden: list[tuple[float, float]]
    curve: NDArray[np.float64]
    faces: dict[int, tuple[int, Box]]


@dataclass(frozen=True)
class Digest:
    """The whole.

    Args:
        start: when the first frame is shown, in seconds.
        end: when the last one ends.
        frames: how many frames there are.
        faceless: how many of them show no face.
        tracks: by their numbers.
        lanes: numbers of tracks that are drawn on one line, one after another.
        left_out: numbers of tracks that found no place.
    """

    start: float
    end: float
    frames: int
    faceless: int
    tracks: dict[int, TrackDigest]
    lanes: list[list[int]]
    left_out: list[int]

    def moments(self) -> NDArray[np.float64]:
        """The middle of each bin, (BINS,) in seconds."""
        return self.start + (np.arange(BINS) + 0.5) * (self.end - self.start) / BINS


@dataclass
class _Runs:
    """A track's segments and gaps while its rows come."""

    track: int
    classes: tuple[str, ...]
    segments: list[Segment] = field(default_factory=list)
    hidden: list[tuple[float, float]] = field(default_factory=list)
    _rows: list[FaceRow] = field(default_factory=list)  # the first and the last of the segment
    _sum: float = 0.0
    _count: int = 0
    _name: str | None = None
    _hidden_from: float | None = None

    def add(self, row: FaceRow) -> None:
        """The track's next row."""
        name = prediction_of(self.classes, row)
        if name != self._name:
            self.close(row.timestamp)
            self._name = name
        if name is not None:
            assert row.probabilities is not None
            self._rows = [*self._rows[:1], row]
            self._sum += row.probabilities[self.classes.index(name)]
            self._count += 1
        if row.success and self._hidden_from is not None:
            self.hidden.append((self._hidden_from, row.timestamp))
            self._hidden_from = None
        elif not row.success and self._hidden_from is None:
            self._hidden_from = row.timestamp

    def close(self, end: float) -> None:
        """The segment is over, and at the end the track."""
        if self._name is not None:
            first, last = self._rows[0], self._rows[-1]
            self.segments.append(
                Segment(self.track, self._name, first.timestamp, end, first.frame, last.frame,
                        self._sum / self._count)
            )  # fmt: skip
        self._rows, self._sum, self._count, self._name = [], 0.0, 0, None


@dataclass
class _Span:
    """The time of the frames, as far as they have come."""

    start: float | None = None
    last: float = 0.0
    frames: int = 0
    with_face: int = 0
    step: float = 0.0  # seconds of a frame: the mean so far
    _number: int = -1
    _has_face: bool = False

    def add(self, row: FaceRow) -> None:
        """The next row."""
        if row.frame != self._number:
            self._number, self._has_face = row.frame, False
            self.start = row.timestamp if self.start is None else self.start
            self.last = row.timestamp
            self.frames += 1
            self.step = (self.last - self.start) / max(1, self.frames - 1)
        if row.success and not self._has_face:
            self._has_face = True
            self.with_face += 1


def segments_of(analysis: Analysis) -> list[Segment]:
    """All segments of all tracks, by start and track."""
    runs, _ = _walk(analysis)
    found = [segment for one in runs.values() for segment in one.segments]
    return sorted(found, key=lambda segment: (segment.start, segment.track))


def digest(analysis: Analysis) -> Digest:
    """What is drawn of an analysis."""
    runs, span = _walk(analysis)
    start = span.start or 0.0
    end = max(span.last + span.step, start + 1e-3)
    tracks = {
        row.track: TrackDigest(
            row,
            runs[row.track].segments if row.track in runs else [],
            runs[row.track].hidden if row.track in runs else [],
            np.full((BINS, len(analysis.classes)), np.nan),
            {},
        )
        for row in analysis.tracks
    }
    _fill(analysis, tracks, start, end)
    lanes, left_out = lanes_of(analysis.tracks)
    return Digest(
        start, end, span.frames, span.frames - span.with_face, tracks, lanes, left_out
    )  # fmt: skip


def _walk(analysis: Analysis) -> tuple[dict[int, _Runs], _Span]:
    runs: dict[int, _Runs] = {}
    ends: dict[int, float] = {}  # when the frame after a track's last one is shown
    span = _Span()
    now: list[int] = []  # tracks in this frame, and in the one before
    before: list[int] = []
    number = -1
    for row in analysis.frames:
        if row.frame != number:
            ends.update(dict.fromkeys(now, row.timestamp))
            number, before, now = row.frame, now, []
        span.add(row)
        if row.track is not None:
            one = runs.setdefault(row.track, _Runs(row.track, analysis.classes))
            if row.track not in before and row.track in ends:
                one.close(ends[row.track])
            one.add(row)
            now.append(row.track)
    ends.update(dict.fromkeys(now, span.last + span.step))
    for track, one in runs.items():
        one.close(ends[track])
    return runs, span


def _fill(analysis: Analysis, tracks: dict[int, TrackDigest], start: float, end: float) -> None:
    """Curves and faces, in a second walk."""
    counts = {track: np.zeros(BINS) for track in tracks}
    sums = {track: np.zeros((BINS, len(analysis.classes))) for track in tracks}
    distances: dict[tuple[int, int], float] = {}
    for row in analysis.frames:
        if row.track not in tracks:
            continue
        since = row.timestamp - start
        if row.probabilities is not None:
            place = min(int(since * BINS / (end - start)), BINS - 1)
            sums[row.track][place] += row.probabilities
            counts[row.track][place] += 1
        if row.box is not None:
            share = since * CELLS / (end - start)
            cell = min(int(share), CELLS - 1)
            distance = abs(share - cell - 0.5)
            if distance < distances.get((row.track, cell), 1.0):
                distances[row.track, cell] = distance
                tracks[row.track].faces[cell] = (row.frame, row.box)
    for track, one in tracks.items():
        known = counts[track] > 0
        one.curve[known] = sums[track][known] / counts[track][known, None]
        _bridge(one, start, end)


def _bridge(one: TrackDigest, start: float, end: float) -> None:
    """Fill bins between two frames of a segment, where there are more bins than frames."""
    known = np.flatnonzero(~np.isnan(one.curve[:, 0]))
    if not len(known):
        return
    width = (end - start) / BINS
    starts = [segment.start for segment in one.segments]
    for place in np.flatnonzero(np.isnan(one.curve[:, 0])):
        time = start + (place + 0.5) * width
        number = bisect.bisect_right(starts, time) - 1
        if number >= 0 and time < one.segments[number].end:
            before = known[max(0, int(np.searchsorted(known, place)) - 1)]
            one.curve[place] = one.curve[before]


def lanes_of(tracks: Sequence[TrackRow]) -> tuple[list[list[int]], list[int]]:
    """Which tracks are drawn on one line: each has its own where there is room for all.

    Otherwise each goes behind the one that ended last before it began, and where all lanes are
    taken, the shortest ones are left out.

    Returns:
        Numbers of tracks for each lane, and those that are left out.
    """
    ordered = sorted(tracks, key=lambda row: (row.start, row.track))
    if len(ordered) <= MOST_LANES:
        return [[row.track] for row in ordered], []
    lanes: list[list[TrackRow]] = []
    left_out: list[int] = []
    for row in sorted(ordered, key=lambda row: row.start - row.end):  # the longest first
        fitting = [lane for lane in lanes if all(_apart(row, other) for other in lane)]
        if fitting:
            fitting[0].append(row)
        elif len(lanes) < MOST_LANES:
            lanes.append([row])
        else:
            left_out.append(row.track)
    for lane in lanes:
        lane.sort(key=lambda row: row.start)
    lanes.sort(key=lambda lane: lane[0].start)
    return [[row.track for row in lane] for lane in lanes], sorted(left_out)


def _apart(one: TrackRow, other: TrackRow) -> bool:
    return one.end < other.start or other.end < one.start
