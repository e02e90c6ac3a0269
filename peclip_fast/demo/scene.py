"""Several of the demo's people in one room: who is where and shows what, at every moment.

They enter, move, pass in front of one another and leave, and change their expressions at known
times, so that what is found in the video can be measured. ``scene_video.py`` draws it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from peclip_fast.demo.draw import UNIT, Light, View, landmarks_in_pixels
from peclip_fast.demo.face import FaceShape, shape_face
from peclip_fast.demo.identity import Identity
from peclip_fast.demo.render import IDENTITIES
from peclip_fast.demo.units import ACTION_UNITS, EXPRESSIONS
from peclip_fast.errors import InputError
from peclip_fast.faces.box import Box

MOST_PEOPLE = 8
WIDTH, HEIGHT = 640, 360
TABLE = 0.72 * HEIGHT  # the edge of the table that all sit behind
CHANGE = 0.5  # seconds from one expression to the next
SHORTEST = 8.0  # seconds that a scene needs for all that happens in it
VISIBLE = 0.5  # share of a face that has to be seen for its box to count
_HELD = 6.0  # seconds of an expression, about
_WALK = 2.0  # seconds to come, to go or to change places
_BUST = 0.47  # zoom at which a square holds head and shoulders
_FACE = 38.0  # pixels of a face unit, of a few people: as large as the demo's clips have it
_FOREHEAD = 0.25  # of the landmarks' height, which begin at the brows
_SWAY = 7.0  # pixels that a person moves to and fro


class Span(NamedTuple):
    """An expression from the middle of the change before it to the middle of that after it."""

    expression: str
    start: float
    end: float


class Moment(NamedTuple):
    """A person in one frame: the square that is drawn, its upper left corner, how it is seen."""

    shape: FaceShape
    view: View
    corner: tuple[int, int]
    size: int

    def box(self) -> Box:
        """The face from the hairline to the chin, in pixels of the frame."""
        points = landmarks_in_pixels(self.shape, self.view, self.size)
        left, top = points.min(0)
        right, bottom = points.max(0)
        top -= _FOREHEAD * (bottom - top)
        x, y = self.corner
        return Box(float(x + left), float(y + top), float(right - left), float(bottom - top))


@dataclass(frozen=True)
class Person:
    """Someone in the scene. Later ones are nearer to the camera.

    Args:
        identity: number of the face.
        spans: its expressions, one after another, over the whole scene.
        path: times and places in pixels, (n, 3) of seconds, x and y of the head; between them the
            person walks.
        unit: pixels of a face unit.
        seed: of the small movements, the light and how strong action units are.
    """

    identity: int
    spans: tuple[Span, ...]
    path: NDArray[np.float64]
    unit: float
    seed: int

    def shares(self, time: float) -> dict[str, float]:
        """How much of each expression there is at a moment; together 1."""
        shares: dict[str, float] = {}
        for number, span in enumerate(self.spans):
            level = 1.0
            if number > 0:
                level = min(level, _ramp(time, span.start))
            if number + 1 < len(self.spans):
                level = min(level, 1 - _ramp(time, span.end))
            if level > 0:
                shares[span.expression] = shares.get(span.expression, 0.0) + level
        return shares

    def place(self, time: float) -> tuple[float, float]:
        """x and y of the head in pixels of the frame."""
        times, x, y = self.path.T
        walked = np.clip((time - times[:-1]) / np.maximum(np.diff(times), 1e-9), 0, 1)
        smooth = walked * walked * (3 - 2 * walked)
        rng = np.random.default_rng([0x5CE, self.seed])
        phase, cycles = rng.uniform(0, 2 * np.pi, 2), rng.uniform(0.12, 0.25, 2)
        sway = _SWAY * np.sin(2 * np.pi * cycles * time + phase)
        across = float(x[0] + (smooth * np.diff(x)).sum() + sway[0])
        return across, float(y[0] + (smooth * np.diff(y)).sum() + 0.5 * sway[1])

    def light(self) -> Light:
        """The same for the whole scene."""
        rng = np.random.default_rng([0x116, self.seed])
        return Light((rng.uniform(-0.8, 0.8), rng.uniform(-0.8, 0.0)), rng.uniform(0.2, 0.4))

    def at(self, time: float) -> Moment:
        """What of the person is drawn at a moment."""
        rng = np.random.default_rng([0x9E5, self.seed])
        strength = {unit: rng.uniform(0.8, 1.0) for unit in ACTION_UNITS}
        levels = dict.fromkeys(ACTION_UNITS, 0.0)
        for expression, share in self.shares(time).items():
            for unit in EXPRESSIONS[expression]:
                levels[unit] = max(levels[unit], strength[unit] * share)
        drift = [
            reach * np.sin(2 * np.pi * rng.uniform(0.1, 0.3) * time + rng.uniform(0, 2 * np.pi))
            for reach in (0.2, 0.08, 0.06, 0.4, 0.3)
        ]
        blink = max(0.0, 1 - abs((time + rng.uniform(0, 4)) % rng.uniform(3, 5) - 1) / 0.12)
        gaze = float(drift[3]), float(drift[4])
        shape = shape_face(Identity.numbered(self.identity), levels, blink, gaze)
        size = round(self.unit / (UNIT * _BUST))
        x, y = self.place(time)
        corner = int(np.floor(x - size / 2)), int(np.floor(y - 0.51 * size))
        rest = (x - size / 2 - corner[0]) / self.unit, (y - 0.51 * size - corner[1]) / self.unit
        view = View(drift[0], drift[1], drift[2], _BUST, rest)
        return Moment(shape, view, corner, size)


@dataclass(frozen=True)
class DrawnScene:
    """A room with people in it, from 0 to ``seconds``."""

    people: tuple[Person, ...]
    seconds: float
    seed: int


def make_scene(people: int, seconds: float = 24.0, seed: int = 0) -> DrawnScene:
    """A scene of so many people, the same on every machine.

    The first one enters, the last one leaves, and the first two change places in the middle, one
    behind the other.

    Raises:
        InputError: there can't be so many, or not in so short a time.
    """
    if not 1 <= people <= MOST_PEOPLE:
        raise InputError(f"a scene of {people} people: expected 1 to {MOST_PEOPLE}")
    if not SHORTEST <= seconds < float("inf"):
        raise InputError(f"a scene of {seconds:g} s: expected {SHORTEST:g} s or more")
    unit = min(_FACE, 0.41 * WIDTH / people)
    slots = (np.arange(people) + 0.5) * WIDTH / people
    heights = [TABLE - unit * (2.0 - 0.4 * (number % 2)) for number in range(people)]
    rng = np.random.default_rng([0x5CE9E, seed])
    faces = rng.permutation(len(IDENTITIES["test"]))[:people]
    outside = 1.5 * unit
    found = []
    for number in range(people):
        x, y = float(slots[number]), heights[number]
        path = [(0.0, x, y)]
        if number == 0:
            path = [(1.0, -outside, y), (1.0 + _WALK, x, y)]
        if people > 1 and number < 2:
            other = 1 - number
            middle = seconds / 2
            path += [(middle - _WALK / 2, x, y)]
            path += [(middle + _WALK / 2, float(slots[other]), heights[other])]
        if number == people - 1:
            gone = seconds - 1.0
            path += [(gone - _WALK, *path[-1][1:]), (gone, WIDTH + outside, y)]
        identity = IDENTITIES["test"][int(faces[number])]
        spans = _spans(seconds, rng)
        found.append(Person(identity, spans, np.array(path), unit, seed * 100 + number))
    return DrawnScene(tuple(found), seconds, seed)


def _spans(seconds: float, rng: np.random.Generator) -> tuple[Span, ...]:
    """Expressions of about the same length, none twice in a row."""
    count = max(2, round(seconds / _HELD))
    shares = rng.uniform(0.85, 1.15, count)
    ends = [*(seconds * np.cumsum(shares[:-1]) / shares.sum()).tolist(), seconds]
    names: list[str] = []
    while len(names) < count:
        names += [name for name in rng.permutation(list(EXPRESSIONS)) if name not in names[-1:]]
    starts = [0.0, *ends[:-1]]
    return tuple(
        Span(str(name), start, end)
        for name, start, end in zip(names[:count], starts, ends, strict=True)
    )


def visible(boxes: Sequence[Box], number: int, others: Sequence[NDArray[np.bool_]]) -> float:
    """Share of a person's face that is seen.

    Args:
        boxes: of all people.
        number: of the person.
        others: (HEIGHT, WIDTH) where each person covers the frame; later ones are in front.
    """
    x, y, width, height = boxes[number]
    rows = np.clip(np.arange(int(y), int(y + height)), -1, HEIGHT)
    columns = np.clip(np.arange(int(x), int(x + width)), -1, WIDTH)
    inside = ((rows >= 0) & (rows < HEIGHT))[:, None] & ((columns >= 0) & (columns < WIDTH))
    covered = np.zeros((HEIGHT, WIDTH), bool)
    for other in others[number + 1 :]:
        covered |= other
    seen = inside & ~covered[rows.clip(0, HEIGHT - 1)][:, columns.clip(0, WIDTH - 1)]
    return float(seen.mean())


def _ramp(time: float, middle: float) -> float:
    """From 0 to 1 within CHANGE seconds, smooth at both ends."""
    level = min(1.0, max(0.0, (time - middle) / CHANGE + 0.5))
    return level * level * (3 - 2 * level)
