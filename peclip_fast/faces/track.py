"""Who is who from frame to frame: faces are assigned to tracks, and tracks to people.

A track is a face without a long break; a person may have several, when appearance says after an
occlusion that somebody is back. At a scene cut everybody is gone.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from scipy.optimize import linear_sum_assignment

from peclip_fast.faces.appearance import likeness, unit
from peclip_fast.faces.finder import SeenFace
from peclip_fast.faces.geometry import Array, overlaps

SURE = 0.7  # probability of a face that a track needs; before and after it finder.FAINT is enough
CONFIRMED = 3  # detections until a track is believed, of which the first is sure
HIDDEN = 1.0  # seconds without a face after which a track ends
_STEPS = 3  # frames that both times are at least, as videos of few frames a second need
_LATELY = 9  # intervals that tell how many those are

_NEAR = 0.5  # faces' sides from where a face is expected: no farther it is looked for
_PER_SECOND = 1.5  # by so much that grows while it is hidden
_LARGER = 2.0  # times: no face grows or shrinks more while it is hidden
_ALIKE = 0.45  # least likeness of a face that was hidden for more than a moment
_MOMENT = 0.2  # seconds
_BACK = 0.7  # likeness of somebody who is back in another place
_DOUBT = 0.05  # by so much likelier than anybody else
_KNOWN = 64  # people of a scene who may come back: the last ones who left
_LEARNED = 0.1  # share of the newest face in a track's look
_STEADY = 0.5  # share of the newest step in a track's speed
_FAR = 1e6  # cost of what is not to be
_NEWS = 0.2  # cost of a track that nobody believes in yet
_FITS = 0.4  # cost of a face that is clearly somebody's
_UNCLEAR = 0.2  # another's cost may not be nearer, where somebody else was just there


@dataclass(eq=False)
class TrackedPerson:
    """Somebody of one scene; numbers count from 1 over the whole video."""

    number: int


@dataclass(eq=False)
class Track:
    """One face from frame to frame.

    Args:
        box: (4,) where it was last: centre, width, height.
        time: when, in seconds.
        look: of the person, learned over the frames.
        began: when it was first seen.
        person: whose it is, once it is confirmed.
        hits: how many frames have shown it, from the first sure one on.
        speed: (2,) of the centre in pixels a second.
        ended: whether it is over.
    """

    box: Array
    time: float
    look: Array
    began: float
    person: TrackedPerson | None = None
    hits: int = 0
    speed: Array = field(default_factory=lambda: np.zeros(2))
    ended: bool = False

    def expected(self, time: float, moment: float) -> Array:
        """The box (4,) where it should be now; what is hidden for longer is not led on."""
        ahead = min(time - self.time, moment)
        return np.concatenate([self.box[:2] + self.speed * ahead, self.box[2:]])

    def follow(self, seen: SeenFace, time: float, moment: float, crowded: bool) -> None:
        """Take a face of the current frame; ``crowded`` ones don't teach how it looks."""
        step = (seen.face.box[:2] - self.box[:2]) / max(time - self.time, 1e-3)
        # From where it was hidden nobody knows the way.
        steady = time - self.time <= moment
        self.speed = (1 - _STEADY) * self.speed + _STEADY * step if steady else np.zeros(2)
        self.box, self.time = seen.face.box, time
        self.count(seen)
        if not crowded:
            self.look = unit((1 - _LEARNED) * self.look + _LEARNED * seen.look)

    def count(self, seen: SeenFace) -> None:
        """Count a face of the current frame; those that come before a sure one don't."""
        self.hits += self.hits > 0 or seen.face.score >= SURE


class Tracker:
    """Follows the faces of one video, frame by frame."""

    def __init__(self) -> None:
        self.tracks: list[Track] = []  # those that may go on
        self._gone: list[Track] = []  # the last one of each person who may come back
        self._intervals: deque[float] = deque(maxlen=_LATELY)
        self._last: float | None = None
        self._people = 0

    @property
    def moment(self) -> float:
        """Seconds that a face may be missing without being hidden."""
        return max(_MOMENT, _STEPS * self._step)

    @property
    def hidden(self) -> float:
        """Seconds without a face after which a track ends: HIDDEN, or a few frames."""
        return max(HIDDEN, _STEPS * self._step)

    @property
    def _step(self) -> float:
        return float(np.median(self._intervals)) if self._intervals else 0.0

    def cut(self) -> None:
        """A new scene begins: ends all tracks, and forgets everybody."""
        for track in self.tracks:
            track.ended = True
        self.tracks, self._gone = [], []

    def update(self, time: float, seen: Sequence[SeenFace]) -> list[Track | None]:
        """The track of each face of a frame, which may turn out to be nobody's.

        None where two of them are one box, as they cross.

        Args:
            time: of the frame in seconds, later than all before.
            seen: its faces.
        """
        if self._last is not None:
            self._intervals.append(time - self._last)
        self._last = time
        self._end(time)
        found = self._assigned(time, seen)
        for number, face in enumerate(seen):
            if number not in found:
                track = Track(face.face.box, time, face.look, began=time)
                track.count(face)
                self.tracks.append(track)
                found[number] = track
            elif (known := found[number]) is not None:
                known.follow(face, time, self.moment, _crowded(seen, number))
        for followed in filter(None, found.values()):
            if followed.person is None and followed.hits >= CONFIRMED:
                self._confirm(followed)
        return [found[number] for number in range(len(seen))]

    def _end(self, time: float) -> None:
        """End the tracks that are hidden, or doubtful, for too long."""
        left = []
        for track in self.tracks:
            waits = self.hidden if track.person else self.moment
            doubtful = not track.hits and time - track.began > self.hidden
            if time - track.time <= waits and not doubtful:
                left.append(track)
                continue
            track.ended = True
            if track.person:
                self._gone = [t for t in self._gone if t.person is not track.person]
                self._gone = [*self._gone, track][-_KNOWN:]
        self.tracks = left

    def _assigned(self, time: float, seen: Sequence[SeenFace]) -> dict[int, Track | None]:
        """The tracks of faces by their numbers; None for one that two tracks are in."""
        if not self.tracks or not seen:
            return {}
        boxes = np.stack([face.face.box for face in seen])
        expected = np.stack([track.expected(time, self.moment) for track in self.tracks])
        hidden = np.array([time - track.time for track in self.tracks])[:, None]
        looks = np.stack([face.look for face in seen])
        alike = likeness(np.stack([track.look for track in self.tracks]), looks)
        sides = np.sqrt(expected[:, 2:].prod(1)[:, None] * boxes[:, 2:].prod(1)[None]) ** 0.5
        away = np.linalg.norm(expected[:, None, :2] - boxes[None, :, :2], axis=2) / sides
        grown = np.abs(np.log(expected[:, None, 2:] / boxes[None, :, 2:])).max(2)
        cost = away + grown + (1 - alike)
        barred = (away > _NEAR + _PER_SECOND * hidden) | (grown > np.log(_LARGER))
        barred |= (alike < _ALIKE) & (hidden > self.moment)
        # One who was believed goes before one who wasn't.
        news = np.array([[track.person is None] for track in self.tracks])
        cost = np.where(barred, _FAR, cost + _NEWS * news)
        pairs = [
            (int(row), int(column))
            for row, column in zip(*linear_sum_assignment(cost), strict=True)
            if not barred[row, column]
        ]
        lost = ~news[:, 0] & (hidden[:, 0] <= self.moment)
        lost[[row for row, _ in pairs]] = False
        found: dict[int, Track | None] = {}
        for row, column in pairs:
            mine, others = cost[row, column], cost[lost, column].min(initial=_FAR)
            unclear = mine > _FITS and others < mine + _UNCLEAR
            found[column] = None if unclear else self.tracks[row]
        return found

    def _confirm(self, track: Track) -> None:
        """Say whose a new track is: somebody's who was here before, or nobody's yet."""
        hidden = [t for t in self.tracks if t.person and t.time < track.began]
        back = _only_likely(track, [*self._gone, *hidden])
        if back is None:
            self._people += 1
            track.person = TrackedPerson(self._people)
            return
        track.person = back.person
        track.look = unit(track.look + back.look)
        back.ended = True
        self._gone = [other for other in self._gone if other is not back]
        self.tracks = [other for other in self.tracks if other is not back]


def _only_likely(track: Track, others: Sequence[Track]) -> Track | None:
    """The one whom a track's face resembles, if it is clear who that is."""
    if not others:
        return None
    alike = likeness(track.look[None], np.stack([other.look for other in others]))[0]
    order = np.argsort(-alike)
    best = others[int(order[0])]
    clear = len(order) == 1 or alike[order[0]] > alike[order[1]] + _DOUBT
    return best if clear and alike[order[0]] >= _BACK else None


def _crowded(seen: Sequence[SeenFace], number: int) -> bool:
    """Whether another face is in the way."""
    boxes = np.stack([face.face.box for face in seen])
    shared = overlaps(boxes[number : number + 1], boxes)[0]
    shared[number] = 0
    return bool(shared.max() > 0)
