"""Draws a face shape: the picture, its region map and its landmarks in pixels."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from peclip_fast.data.cues.regions import REGIONS
from peclip_fast.demo.face import Array, FaceShape, Part
from peclip_fast.demo.identity import Identity

SUPERSAMPLING = 3
# One face unit at zoom 1, as a share of the frame.
UNIT = 0.40
# Parts that together cover all of the head and what is below it.
SILHOUETTE = {"shirt", "hair_back", "neck", "ear", "skin", "hair"}
BACKDROP_LIGHT = 0.4  # on what is behind the head, against 1.35 where the head faces the lamp

Colour = tuple[float, float, float]


@dataclass(frozen=True)
class View:
    """Head pose and camera: angles in radians, zoom 1 for a filled frame, shifts in face units."""

    yaw: float = 0.0
    pitch: float = 0.0
    roll: float = 0.0
    zoom: float = 1.0
    shift: tuple[float, float] = (0.0, 0.0)

    def project(self, points: Array, size: int) -> Array:
        """Array (n, 3) in face units -> (n, 2) in pixels of a square frame of ``size``."""
        cy, sy = np.cos(self.yaw), np.sin(self.yaw)
        cp, sp = np.cos(self.pitch), np.sin(self.pitch)
        cr, sr = np.cos(self.roll), np.sin(self.roll)
        turn = np.array([[cy, 0, sy], [sp * sy, cp, -sp * cy]])
        flat = points @ (np.array([[cr, -sr], [sr, cr]]) @ turn).T
        scale = UNIT * size * self.zoom
        return (flat + np.asarray(self.shift)) * scale + np.array([0.5, 0.51]) * size


@dataclass(frozen=True)
class Light:
    """One lamp: where it stands (x, y; z is 1), its strength, its warm or cold tint."""

    direction: tuple[float, float] = (0.0, -0.5)
    contrast: float = 0.35
    exposure: float = 1.0
    warmth: float = 0.0


@functools.lru_cache(maxsize=8)
def _palette(who: Identity) -> dict[str, Colour]:
    skin, hair = np.array(who.skin), np.array(who.hair)
    dark = skin * np.array([0.52, 0.42, 0.40])
    lip = skin * (1 - 0.5 * who.lip_red) + np.array([170, 60, 70]) * 0.5 * who.lip_red
    palette = {
        "skin": skin,
        "shirt": np.array(who.shirt),
        "neck": skin * 0.82,
        "ear": skin * 0.92,
        "hair": hair,
        "hair_back": hair * 0.75,
        "brow": hair * 0.55 + dark * 0.15,
        "nose": np.minimum(skin * 1.035, 255),
        "nostril": dark * 0.7,
        "crease": dark,
        "cheek": skin * 0.85 + np.array([230, 110, 100]) * 0.15,
        "eye": np.array([244, 242, 238]),
        "iris": np.array(who.iris),
        "pupil": np.array([14, 12, 12]),
        "glint": np.array([255, 255, 255]),
        "lash": np.array([30, 20, 18]),
        "lip": lip * np.array([0.92, 0.74, 0.74]),
        "lip_line": dark * 0.6,
        "mouth": np.array([62, 18, 22]),
        "tongue": np.array([186, 84, 88]),
        "teeth": np.array([246, 243, 232]),
        "glasses": np.array([40, 38, 44]),
    }
    return {name: tuple(colour.tolist()) for name, colour in palette.items()}


@functools.lru_cache(maxsize=256)
def _taper(count: int) -> Array:
    """Half widths (count,) of a line of width 1 that is thinner at its ends."""
    return 0.5 * (0.35 + 0.65 * np.sin(np.linspace(0.15, np.pi - 0.15, count)))


def _outlines(shape: FaceShape, view: View, size: int) -> Iterator[tuple[Part, list[float]]]:
    """Each part with its outline in pixels, flattened for Pillow; strokes become thin areas."""
    flat = view.project(shape.points, size)
    # The direction of a curve at each point: between its neighbours, or its only one at an end.
    ahead = np.zeros_like(flat)
    ahead[1:-1] = flat[2:] - flat[:-2]
    half = np.zeros(len(flat))
    for part in shape.parts:
        if part.width:
            first, last = part.start, part.stop - 1
            ahead[first], ahead[last] = flat[first + 1] - flat[first], flat[last] - flat[last - 1]
            half[first : part.stop] = part.width * _taper(part.stop - first)
    half *= UNIT * size * view.zoom / (np.hypot(ahead[:, 0], ahead[:, 1]) + 1e-9)
    side = ahead[:, ::-1] * (1.0, -1.0) * half[:, None]
    left, right = flat + side, flat - side
    for part in shape.parts:
        span = slice(part.start, part.stop)
        outline = left[span].ravel().tolist()
        if part.width:
            outline += right[span][::-1].ravel().tolist()
        yield part, outline


def _shade(
    image: NDArray[np.float32], head: NDArray[np.float32], view: View, light: Light
) -> NDArray[np.float32]:
    """Light the head as if it were an ellipsoid, and what is behind it evenly.

    ``head`` (size, size) is 255 where the head covers the picture.
    """
    size = image.shape[0]
    centre = view.project(np.zeros((1, 3)), size)[0]
    scale = UNIT * size * view.zoom
    grid = np.arange(size)
    nx = ((grid - centre[0]) / scale).astype(np.float32)[None, :]
    ny = ((grid - centre[1]) / (1.25 * scale)).astype(np.float32)[:, None]
    reach = nx**2 + ny**2
    lx, ly = light.direction
    # Beyond the ellipsoid's rim the light is the rim's.
    facing = (nx * lx + ny * ly) / np.sqrt(np.maximum(reach, 1)) + np.sqrt(np.maximum(1 - reach, 0))
    strength = 1.35 / np.sqrt(lx**2 + ly**2 + 1)
    level = BACKDROP_LIGHT + head / 255 * (strength * np.maximum(facing, 0) - BACKDROP_LIGHT)
    level = light.exposure * (1 - light.contrast + light.contrast * level)
    tint = np.array([1 + light.warmth, 1.0, 1 - light.warmth], dtype=np.float32)
    return image * (level.astype(np.float32)[:, :, None] * tint)


def draw_face(
    shape: FaceShape,
    who: Identity,
    view: View | None = None,
    light: Light | None = None,
    size: int = 96,
    noise: float = 0.0,
    rng: np.random.Generator | None = None,
) -> NDArray[np.uint8]:
    """The picture (size, size, 3), uint8 RGB, anti-aliased.

    ``noise`` is the standard deviation of the camera's noise in grey levels; it needs ``rng``.
    """
    pixels, _ = draw_figure(shape, who, view or View(), light or Light(), size)
    if noise > 0:
        if rng is None:
            raise ValueError("noise needs a random generator")
        pixels += noise * rng.standard_normal(pixels.shape, dtype=np.float32)
    return as_bytes(pixels)


def draw_figure(
    shape: FaceShape, who: Identity, view: View, light: Light, size: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The picture (size, size, 3), float32 RGB, in its light, and how far head and shoulders cover
    each pixel (size, size), from 0 to 1."""
    fine = size * SUPERSAMPLING
    palette = _palette(who)
    image = Image.new("RGB", (fine, fine), _rgb(who.backdrop))
    head = Image.new("L", (fine, fine), 0)
    pen, mask = ImageDraw.Draw(image), ImageDraw.Draw(head)
    for part, outline in _outlines(shape, view, fine):
        pen.polygon(outline, fill=_rgb(palette[part.name], palette["skin"], part.strength))
        if part.name in SILHOUETTE:
            mask.polygon(outline, fill=255)
    pixels = np.asarray(image.reduce(SUPERSAMPLING), dtype=np.float32)
    covered = np.asarray(head.reduce(SUPERSAMPLING), dtype=np.float32)
    return _shade(pixels, covered, view, light), covered / np.float32(255)


def as_bytes(pixels: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Rounded to uint8; the array itself is used up."""
    pixels += 0.5
    return np.clip(pixels, 0, 255, out=pixels).astype(np.uint8)


def _rgb(colour: Colour, base: Colour = (0, 0, 0), strength: float = 1.0) -> tuple[int, int, int]:
    red, green, blue = (
        min(255, max(0, int(under + (over - under) * strength)))
        for over, under in zip(colour, base, strict=True)
    )
    return red, green, blue


def draw_regions(shape: FaceShape, view: View | None = None, size: int = 96) -> NDArray[np.uint8]:
    """The true region map (size, size), uint8: each value indexes ``REGIONS``."""
    image = Image.new("L", (size, size), 0)
    pen = ImageDraw.Draw(image)
    for part, outline in _outlines(shape, view or View(), size):
        if part.region is not None:
            pen.polygon(outline, fill=REGIONS.index(part.region))
    return np.asarray(image)


def landmarks_in_pixels(shape: FaceShape, view: View | None = None, size: int = 96) -> Array:
    """The 68 true landmarks (68, 2), x and y in pixels."""
    return (view or View()).project(shape.landmarks, size)
