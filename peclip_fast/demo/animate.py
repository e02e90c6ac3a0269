"""Faces in motion: onset, apex and offset of action units, head and camera movement, blinks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from peclip_fast.data.cues.store import Cues
from peclip_fast.demo.draw import Light, View, draw_face, draw_regions, landmarks_in_pixels
from peclip_fast.demo.face import FaceShape, shape_face
from peclip_fast.demo.identity import Identity
from peclip_fast.demo.units import ACTION_UNITS

BLINK_FRAMES = 3
CAMERA_NOISE = 2.5  # standard deviation in grey levels
RESTLESS = 0.12  # largest intensity of the action units that an expression doesn't use


@dataclass(frozen=True)
class Phase:
    """An expression that comes and goes.

    Args:
        units: numbers of its action units.
        onset: when it starts to show, as a share of the clip.
        apex: when it is fully there.
        end: when it starts to fade.
        offset: when it is gone.
    """

    units: Sequence[int]
    onset: float
    apex: float
    end: float
    offset: float

    def envelope(self, times: NDArray[np.float64]) -> NDArray[np.float64]:
        """Intensity from 0 to 1 at each time from 0 to 1, smooth at both ends of each ramp."""
        rise = np.clip((times - self.onset) / (self.apex - self.onset), 0, 1)
        fall = np.clip((self.offset - times) / (self.offset - self.end), 0, 1)
        level = np.minimum(rise, fall)
        return level * level * (3 - 2 * level)


def one_expression(units: Sequence[int], rng: np.random.Generator) -> list[Phase]:
    """An expression somewhere in the clip, at its apex for a third of it or longer."""
    onset = rng.uniform(0.0, 0.2)
    apex = onset + rng.uniform(0.1, 0.25)
    end = apex + rng.uniform(0.3, 0.45)
    return [Phase(units, onset, apex, end, end + rng.uniform(0.1, 0.25))]


def two_expressions(
    first: Sequence[int], second: Sequence[int], rng: np.random.Generator
) -> list[Phase]:
    """One expression in the first half of the clip and another one in the second."""
    onset, length = rng.uniform(0.0, 0.06), rng.uniform(0.4, 0.46)
    ramp = rng.uniform(0.08, 0.14)

    def phase(units: Sequence[int], start: float) -> Phase:
        return Phase(units, start, start + ramp, start + length - ramp, start + length)

    return [phase(first, onset), phase(second, 0.5 + onset)]


class Film(NamedTuple):
    """A face in motion before it is drawn: what it looks like and how it is seen in each frame."""

    who: Identity
    light: Light
    frames: list[tuple[FaceShape, View]]


def play(who: Identity, phases: Sequence[Phase], frames: int, rng: np.random.Generator) -> Film:
    """A face that shows the phases in so many frames.

    Strength of each action unit, head pose and its drift, light, camera and blinks are drawn from
    ``rng``, once per clip.
    """
    times = np.linspace(0, 1, frames)
    strength = {unit: rng.uniform(0.65, 1.0) for unit in ACTION_UNITS}
    rest = {unit: RESTLESS * rng.random() for unit in ACTION_UNITS}
    levels = {unit: np.full(frames, rest[unit]) for unit in ACTION_UNITS}
    for phase in phases:
        level = phase.envelope(times)
        for unit in phase.units:
            levels[unit] = np.maximum(levels[unit], strength[unit] * level)
    yaw, pitch, roll = (_drift(rng, times, reach) for reach in (0.25, 0.15, 0.08))
    shift = rng.uniform(-0.06, 0.06, 2)
    zoom = rng.uniform(0.95, 1.12)
    gaze = _drift(rng, times, 0.6), _drift(rng, times, 0.4)
    blink = _blinks(rng, frames)
    light = Light(
        direction=(rng.uniform(-1, 1), rng.uniform(-0.9, 0.2)),
        contrast=rng.uniform(0.15, 0.5),
        exposure=rng.uniform(0.85, 1.15),
        warmth=rng.uniform(-0.06, 0.06),
    )
    played = []
    for t in range(frames):
        units = {unit: level[t] for unit, level in levels.items()}
        shape = shape_face(who, units, blink[t], (gaze[0][t], gaze[1][t]))
        view = View(yaw[t], pitch[t], roll[t], zoom, (shift[0], shift[1]))
        played.append((shape, view))
    return Film(who, light, played)


def draw_film(film: Film, size: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Its frames (frames, size, size, 3), uint8 RGB; ``rng`` gives the camera's noise."""
    return np.stack(
        [
            draw_face(shape, film.who, view, film.light, size, CAMERA_NOISE, rng)
            for shape, view in film.frames
        ]
    )


def true_cues(film: Film, size: int) -> Cues:
    """Its landmarks and regions, known and not estimated."""
    points = [landmarks_in_pixels(shape, view, size) for shape, view in film.frames]
    regions = [draw_regions(shape, view, size) for shape, view in film.frames]
    return Cues(np.stack(points), (size, size), np.stack(regions))


def _drift(
    rng: np.random.Generator, times: NDArray[np.float64], reach: float
) -> NDArray[np.float64]:
    """A slow movement about a random place, in [-1.3, 1.3] times ``reach``."""
    cycles, phase = rng.uniform(0.3, 1.2), rng.uniform(0, 2 * np.pi)
    return reach * (rng.uniform(-1, 1) + 0.3 * np.sin(2 * np.pi * cycles * times + phase))


def _blinks(rng: np.random.Generator, frames: int) -> NDArray[np.float64]:
    closed = np.zeros(frames)
    shape = np.sin(np.linspace(0, np.pi, BLINK_FRAMES + 2))[1:-1]
    for start in rng.integers(0, max(1, frames - BLINK_FRAMES), rng.integers(0, 3)):
        part = closed[start : start + BLINK_FRAMES]
        np.maximum(part, shape[: len(part)], out=part)
    return closed
