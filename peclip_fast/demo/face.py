"""Geometry of the demo's parametric face: identity and action units in, curves and landmarks out.

Everything here is in face units: the origin lies between eyes and nose, x grows to the viewer's
right, y downwards, z towards the viewer, and the relaxed chin is about 1 below the origin. The
drawing (``draw.py``) only fills these shapes, so the landmarks and the region map are the truth of
the picture and not an estimate.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from peclip_fast.demo.identity import Identity
from peclip_fast.demo.units import ACTION_UNITS

Array = NDArray[np.float64]
Curve = tuple[Any, Any, Any]
"""x, y and z of the points of a curve; z counts from the skin and may be one number for all."""

# Action units below this intensity leave no crease.
FAINT = 0.04
SIDES = (-1, 1)


@dataclass(frozen=True)
class Part:
    """One shape of the face, drawn over the ones before it.

    Its curve is ``points[start:stop]`` of its ``FaceShape``. ``width`` 0 means a filled outline,
    otherwise a stroke of that width in face units, tapered at its ends. ``strength`` fades the
    colour into the skin. Parts without a ``region``, such as creases, don't change the region map.
    """

    name: str
    region: str | None
    start: int
    stop: int
    width: float
    strength: float


@dataclass(frozen=True)
class FaceShape:
    """A face at one moment: parts from back to front, their points (n, 3), 68 landmarks (68, 3).

    The landmarks follow the usual 68-point order: jaw 0-16, brows 17-26, nose 27-35, eyes 36-47,
    outer lips 48-59, inner lips 60-67, each from the viewer's left to right.
    """

    parts: tuple[Part, ...]
    points: Array
    landmarks: Array


class _Sketch:
    """Collects curves in the order in which they are drawn; joins them into arrays at the end."""

    def __init__(self) -> None:
        self.parts: list[Part] = []
        self.size = 0
        self._curves: list[Curve] = []

    def mark(self, x: Any, y: Any, z: float | Array = 0.0) -> None:
        """Keep a curve that isn't drawn; ``x`` and ``y`` are arrays or lists of one length."""
        self._curves.append((x, y, z if isinstance(z, np.ndarray) else np.full(len(x), z)))
        self.size += len(x)

    def add(
        self,
        name: str,
        region: str | None,
        x: Any,
        y: Any,
        z: float | Array = 0.0,
        width: float = 0.0,
        strength: float = 1.0,
    ) -> None:
        """Keep a curve as a part of the face, unless it is too faint to see."""
        if strength > FAINT:
            start = self.size
            self.mark(x, y, z)
            self.parts.append(Part(name, region, start, self.size, width, strength))

    def crease(self, x: Any, y: Any, z: float, width: float, strength: float) -> None:
        """A fold of the skin."""
        self.add("crease", None, x, y, z, width, strength)

    def band(self, name: str, region: str, x: Array, top: Array, bottom: Array, z: float) -> None:
        """The area between two curves over the same x."""
        outline = np.concatenate([x, x[::-1]]), np.concatenate([top, bottom[::-1]])
        self.add(name, region, *outline, z)

    def points(self, first: int, last: int) -> Array:
        """All points (n, 3); the z of those from ``first`` to ``last`` counts from the skin."""
        points = np.stack([np.concatenate(column) for column in zip(*self._curves, strict=True)], 1)
        x, y = points[first:last, 0], points[first:last, 1]
        points[first:last, 2] += 0.75 * np.sqrt(
            np.maximum(1 - (x / 0.9) ** 2 - (y / 1.25) ** 2, 0.0)
        )
        return points


_ARC = np.linspace(-1, 1, 17)
_BUMP = 1 - _ARC**2
_LID, _LID_FOLD = _BUMP**0.75, _BUMP**0.525
_LIPS, _UPPER_LIP, _LOWER_LIP = _BUMP**0.6, _BUMP**0.5, _BUMP**0.55
_LIP_LINE = np.abs(_ARC) ** 2.2
_CUPID = 1 - 0.25 * np.exp(-((_ARC / 0.18) ** 2))
_ANGLES = np.linspace(0, 2 * np.pi, 20, endpoint=False)
_COS, _SIN = np.cos(_ANGLES), np.sin(_ANGLES)
_BROW = np.linspace(0, 1, 9)  # from the inner to the outer end
_SHORT = np.linspace(-1, 1, 7)


@functools.lru_cache(maxsize=8)
def _outline(who: Identity) -> tuple[tuple[Array, Array], tuple[Array, Array], tuple[Array, Array]]:
    """Curves of the head that no action unit but the jaw's moves: skin, hair behind it, fringe.

    The skin starts with the 33 points of the jaw, from the left ear over the chin to the right.
    """
    width, volume = who.head_width, who.hair_volume
    angles = np.linspace(np.pi * 1.02, -np.pi * 0.02, 33)
    sine, skull = np.sin(angles), np.linspace(0, np.pi, 25)[1:-1]
    skin = (
        np.concatenate([width * np.cos(angles), width * np.cos(skull)]),
        np.concatenate([np.sign(sine) * np.abs(sine) ** (2 / who.jaw), -0.98 * np.sin(skull)]),
    )
    crown, reach = np.linspace(np.pi, 0, 25), width + volume
    top, fall = -0.05 - (0.95 + volume) * np.sin(crown), who.hair_length
    hair = (
        np.concatenate([[-reach], reach * np.cos(crown), [reach]]),
        np.concatenate([[fall], top, [fall]]),
    )
    # The fringe runs along the skull on the outside and along the hairline on the inside.
    t = np.linspace(-0.97, 0.97, 21)
    line = who.hairline + 0.45 * np.abs(t) ** 4 + 0.12 * np.abs(t - who.hair_part) * (1 - t**2)
    outer, rim = np.linspace(np.pi * 1.04, -np.pi * 0.04, 25), 1 + 0.6 * volume
    fringe = (
        np.concatenate([rim * width * np.cos(outer), t[::-1] * width]),
        np.concatenate([-0.98 * rim * np.sin(outer), line[::-1]]),
    )
    return skin, hair, fringe


def _head(sketch: _Sketch, who: Identity, chin: float) -> None:
    """What lies behind the features, the skin last."""
    (skin_x, skin_y), hair, _ = _outline(who)
    shoulders = [-1.3, -0.95, -0.3, 0.3, 0.95, 1.3], [2.2, 1.35, 1.2, 1.2, 1.35, 2.2]
    sketch.add("shirt", None, *shoulders, -0.35)
    sketch.add("hair_back", "hair", *hair, -0.25)
    sketch.add("neck", None, [-0.3, 0.3, 0.34, -0.34], [0.6, 0.6, 1.3, 1.3], -0.3)
    for s in SIDES:
        sketch.add("ear", "face", s * who.head_width + 0.07 * _COS, -0.02 + 0.15 * _SIN, -0.05)
    stretch = np.ones_like(skin_y)
    stretch[:33] = chin
    sketch.add("skin", "face", skin_x, skin_y * stretch)


def _cheeks(sketch: _Sketch, au: Mapping[int, float]) -> None:
    y = 0.2 - 0.05 * au[6] - 0.03 * au[12]
    arc = 0.16 * _SHORT
    for s in SIDES:
        x = s * 0.42 + 0.15 * _COS
        sketch.add("cheek", None, x, y + 0.11 * _SIN, strength=0.35 + 0.5 * au[6])
        under = y - 0.1 - 0.02 * au[6] + 2.0 * arc**2
        sketch.crease(s * 0.40 + arc, under, 0.0, 0.026, 0.85 * au[6])


def _mouth(sketch: _Sketch, who: Identity, au: Mapping[int, float]) -> list[Curve]:
    """Lips, opening, teeth and the folds around; returns the 20 landmarks of the lips."""
    wide = 0.26 * au[12] + 0.34 * au[20] - 0.22 * au[23] - 0.08 * au[26] - 0.04 * au[15]
    half = who.mouth_width * (1 + wide)
    # Corners against the middle of the mouth: negative is a smile.
    corner = who.rest_curve - 0.17 * au[12] + 0.15 * au[15] + 0.02 * au[20] + 0.05 * au[26]
    middle = who.mouth_height + 0.03 * au[12] - 0.05 * au[15] + 0.03 * au[26] - 0.01 * au[9]
    thick = who.lip_thickness * (1 - 0.62 * au[23]) * (1 - 0.3 * au[20]) * (1 - 0.15 * au[12])
    shut = 1 - 0.5 * au[23]
    up = 0.035 * au[12] + 0.03 * au[26] + 0.045 * au[9] * shut
    down = (0.02 * au[12] + 0.25 * au[26] + 0.085 * au[16]) * shut
    x, line = half * _ARC, middle + corner * _LIP_LINE
    inner_top, inner_bottom = line - up * _LIPS, line + down * _LIPS
    outer_top = inner_top - 0.062 * thick * _CUPID * _UPPER_LIP
    outer_bottom = inner_bottom + (0.082 * thick + 0.02 * au[16]) * _LOWER_LIP
    sketch.band("lip", "lips", x, outer_top, outer_bottom, 0.05)
    if up + down > 0.015:
        sketch.band("mouth", "mouth", x, inner_top, inner_bottom, 0.04)
        if down > 0.1:
            inside = slice(4, 13)
            tongue = np.maximum(inner_bottom - 0.1 * _BUMP, inner_top)[inside]
            sketch.band("tongue", "mouth", x[inside], tongue, inner_bottom[inside], 0.04)
        upper_teeth = np.minimum(inner_top + 0.06 * min(1.0, 12 * up) * _LIPS, inner_bottom)
        sketch.band("teeth", "mouth", x, inner_top, upper_teeth, 0.04)
        lower_teeth = np.maximum(inner_bottom - 0.055 * au[16] * _LIPS, inner_top)
        sketch.band("teeth", "mouth", x, lower_teeth, inner_bottom, 0.04)
    else:
        sketch.add("lip_line", None, x, line, 0.05, 0.028)
    y = middle + corner
    pull = min(1.0, 0.15 + 0.8 * au[12] + 0.7 * au[15] + 0.5 * au[20])
    deep = min(1.0, 0.12 + 0.75 * au[12] + 0.8 * au[9] + 0.25 * au[6])
    fold_x = np.array([0.19, 0.27, 0.195 + 0.5 * half]) + 0.04 * au[12]
    for s in SIDES:
        dimple = [s * (half + 0.015), s * (half + 0.03), s * (half + 0.025)]
        sketch.crease(dimple, [y - 0.035, y, y + 0.04], 0.05, 0.028, pull)
        fold_y = [0.3 - 0.05 * au[9], 0.4 - 0.03 * au[12], y - 0.02]
        sketch.crease(s * fold_x, fold_y, 0.0, 0.026, deep)
    dent = 0.12 * _SHORT
    chin = outer_bottom[8] + 0.06 + 1.2 * dent**2
    sketch.crease(dent, chin, 0.0, 0.024, 0.35 + 0.4 * au[23])
    top, bottom = [0, 3, 6, 8, 10, 13, 16], [13, 10, 8, 6, 3]
    inner, back = [1, 5, 8, 11, 15], [11, 8, 5]
    return [
        (x[top + bottom], np.concatenate([outer_top[top], outer_bottom[bottom]]), 0.05),
        (x[inner + back], np.concatenate([inner_top[inner], inner_bottom[back]]), 0.04),
    ]


def _nose(sketch: _Sketch, who: Identity, au: Mapping[int, float]) -> list[Curve]:
    """Body, nostrils and wrinkles; returns the 9 landmarks."""
    width = who.nose_width * (1 + 0.22 * au[9] + 0.06 * au[12])
    tip = who.nose_length - 0.045 * au[9]
    wing = tip + 0.035 - 0.045 * au[9]
    right = np.array([0.05, 0.065, width, 0.8 * width, 0.0])
    down = np.array([-0.16, 0.08, wing - 0.04, wing + 0.04, tip + 0.075])
    out = np.array([0.06, 0.14, 0.08, 0.08, 0.18])
    x = np.concatenate([right, -right[-2::-1]])
    y, z = (np.concatenate([half, half[-2::-1]]) for half in (down, out))
    sketch.add("nose", "nose", x, y, z)
    for s in SIDES:
        hole = s * 0.5 * width + 0.042 * _COS, tip + 0.05 + 0.022 * _SIN
        sketch.add("nostril", "nose", *hole, 0.12)
        curl = [s * width * 0.9, s * width * 1.12, s * width * 1.02, s * width * 0.75]
        edge = [wing - 0.08, wing - 0.03, wing + 0.03, wing + 0.045]
        sketch.crease(curl, edge, 0.08, 0.026, 1.0)
    sketch.crease([0.06, 0.075, 0.085], [-0.08, 0.04, 0.14], 0.1, 0.02, 0.45)
    bar = 0.1 * _SHORT
    for height in (-0.13, -0.06, 0.01):
        sketch.crease(bar, height - 2.5 * bar**2, 0.12, 0.026, au[9])
    for s in SIDES:
        side = [s * 0.08, s * 0.13, s * 0.16]
        sketch.crease(side, [-0.02, 0.03, 0.1], 0.08, 0.026, au[9])
    base = np.array([-0.8, -0.4, 0.0, 0.4, 0.8]) * width
    return [
        (np.zeros(4), np.linspace(-0.13, tip, 4), np.linspace(0.06, 0.22, 4)),
        (base, tip + 0.075 - 0.4 * np.abs(base) ** 1.5, 0.1),
    ]


def _eyes(
    sketch: _Sketch,
    who: Identity,
    au: Mapping[int, float],
    blink: float,
    gaze: tuple[float, float],
) -> list[Curve]:
    """Eyes, lids, crow's feet and glasses; returns the 12 landmarks."""
    half = 0.165 * who.eye_size
    low = 0.06 * who.eye_size - 0.04 * au[7] - 0.04 * au[6] - 0.02 * au[9]
    up = 0.082 * who.eye_size + 0.075 * au[5] - 0.035 * au[7] - 0.012 * au[6] - 0.02 * au[9]
    up = up * (1 - blink) - 0.9 * low * blink
    bag_strength = min(1.0, 0.1 + 0.7 * au[7] + 0.5 * au[6])
    landmarks: list[Curve] = []
    for s in SIDES:
        # The arc runs from the viewer's left to right; the cant lifts or lowers the outer corner.
        centre = s * who.eye_spacing
        x, base = centre + half * _ARC, -0.13 + who.eye_cant * s * _ARC
        top = base - up * _LID
        bottom = np.maximum(base + low * _LID, top)
        sketch.band("eye", "eyes", x, top, bottom, 0.02)
        for name, radius in (("iris", 0.088), ("pupil", 0.045)):
            round_x = centre + 0.05 * gaze[0] + radius * _COS
            round_y = -0.135 + 0.03 * gaze[1] + radius * _SIN
            lids = np.interp(round_x, x, top), np.interp(round_x, x, bottom)
            sketch.add(
                name, "eyes", round_x, np.minimum(np.maximum(round_y, lids[0]), lids[1]), 0.02
            )
        if up + low > 0.07:
            glint = centre - 0.025 + 0.05 * gaze[0], -0.165 + 0.03 * gaze[1]
            sketch.add("glint", "eyes", glint[0] + 0.017 * _COS, glint[1] + 0.017 * _SIN, 0.02)
        sketch.add("lash", None, x, top, 0.02, 0.036)
        fold = base - (0.06 + 0.75 * up) * _LID_FOLD - 0.01
        sketch.crease(x, fold, 0.02, 0.018, 0.7 - 0.5 * au[5])
        sketch.crease(x, base + (low + 0.05) * _LID, 0.02, 0.022, bag_strength)
        for tilt in (-0.05, 0.0, 0.05):
            outer = s * (who.eye_spacing + half)
            feet = [outer + s * 0.04, outer + s * 0.11], [-0.12 + 0.4 * tilt, -0.12 + 1.6 * tilt]
            sketch.crease(*feet, 0.02, 0.018, 0.8 * au[6])
        rim = [0, 5, 11, 16], [11, 5]
        landmarks.append((x[rim[0]], top[rim[0]], 0.02))
        landmarks.append((x[rim[1]], bottom[rim[1]], 0.02))
    if who.glasses:
        ring_x, ring_y = 0.24 * np.append(_COS, 1.0), -0.11 + 0.19 * np.append(_SIN, 0.0)
        for s in SIDES:
            sketch.add("glasses", None, s * who.eye_spacing + ring_x, ring_y, 0.1, 0.028)
        sketch.add("glasses", None, [-0.09, 0.0, 0.09], [-0.13, -0.15, -0.13], 0.1, 0.03)
    return landmarks


def _brows(sketch: _Sketch, who: Identity, au: Mapping[int, float]) -> list[Curve]:
    """Brows and the creases of the forehead; returns the 10 landmarks."""
    t, inner = _BROW, 1 - _BROW
    y = who.brow_height - who.brow_arch * np.sin(np.pi * t)
    y = y - 0.16 * au[1] * inner**1.5 - 0.13 * au[2] * t**1.2
    y = y + au[4] * (0.085 + 0.075 * inner) + 0.06 * au[9] * inner
    x = 0.13 + 0.41 * t - 0.06 * au[4] * inner
    half = 0.5 * who.brow_thickness * np.minimum(1.15 - 0.75 * t, 0.55 + 3 * t)
    for s in SIDES:
        sketch.band("brow", "brows", s * x, y - half, y + half, 0.03)
    lift = max(au[1], au[2]) * (1 - 0.6 * au[4])
    forehead = 0.34 * (2 * _BROW - 1)
    for height in (-0.62, -0.70):
        sketch.crease(forehead, height + 0.25 * forehead**2, 0.0, 0.022, 0.7 * lift)
    for s in SIDES:
        frown = [s * 0.045, s * 0.055, s * 0.05]
        sketch.crease(frown, [-0.42, -0.35, -0.27], 0.0, 0.03, 0.9 * au[4])
    return [(-x[::-2], y[::-2], 0.03), (x[::2], y[::2], 0.03)]


def shape_face(
    who: Identity,
    units: Mapping[int, float],
    blink: float = 0.0,
    gaze: tuple[float, float] = (0.0, 0.0),
) -> FaceShape:
    """The face of ``who`` with these action units (number -> intensity in 0..1).

    ``blink`` closes the lids (1: shut); ``gaze`` looks right and down (-1..1 each). An action unit
    that is not named is relaxed. Unknown numbers raise KeyError: they are a bug of the caller.
    """
    au = dict.fromkeys(ACTION_UNITS, 0.0)
    for number, intensity in units.items():
        if number not in au:
            raise KeyError(f"no action unit {number} in the demo's face")
        au[number] = float(intensity)
    sketch = _Sketch()
    _head(sketch, who, 1.0 + 0.15 * au[26])
    skin, first = sketch.parts[-1], sketch.size
    _cheeks(sketch, au)
    mouth = _mouth(sketch, who, au)
    nose = _nose(sketch, who, au)
    eyes = _eyes(sketch, who, au, blink, gaze)
    brows = _brows(sketch, who, au)
    drawn = sketch.size
    for curve in (*brows, *nose, *eyes, *mouth):
        sketch.mark(*curve)
    last = sketch.size
    sketch.add("hair", "hair", *_outline(who)[2], 0.05)
    points = sketch.points(first, last)
    jaw = points[skin.start : skin.start + 33 : 2]
    return FaceShape(tuple(sketch.parts), points, np.concatenate([jaw, points[drawn:last]]))
