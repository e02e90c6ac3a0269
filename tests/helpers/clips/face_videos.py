"""Videos in which drawn faces are at known places at known times."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from peclip_fast.demo.render import film_of, plan

HEIGHT, WIDTH, RATE = 240, 400, 12
SIDE = 96
Places = Callable[[float], Sequence[tuple[int, int] | None]]  # upper left corners at a time


@functools.cache
def head(number: int) -> np.ndarray:
    """Frames (T, 96, 96, 3) of one of the demo's test faces, without their background."""
    clips = [clip for clip in plan("expressions") if clip.identity >= 1000]
    return film_of(clips[7 * number])[1]


def room() -> np.ndarray:
    shade = np.linspace(90, 150, WIDTH)[None, :, None] + np.linspace(0, 40, HEIGHT)[:, None, None]
    return np.repeat(shade, 3, 2).astype(np.uint8)


def frame_at(places: Sequence[tuple[int, int] | None], number: int) -> np.ndarray:
    """The frame with each person's picture at its place; the later ones before the others."""
    frame = room()
    for who, place in enumerate(places):
        if place is None:
            continue
        frames = head(who)
        picture = frames[number % len(frames)]
        x, y = place
        left, top = max(0, x), max(0, y)
        right, below = min(WIDTH, x + SIDE), min(HEIGHT, y + SIDE)
        if left < right and top < below:
            frame[top:below, left:right] = picture[top - y : below - y, left - x : right - x]
    return frame


def write_faces_video(
    path: Path,
    times: Sequence[float],
    places: Places,
    options: dict[str, str] | None = None,
    codec: str = "libx264",
) -> Path:
    """A video whose frame n is shown at ``times[n]`` seconds."""
    unit = Fraction(1, 90_000)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=RATE)
        stream.options = {"preset": "veryfast", "crf": "18", **(options or {})}
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.codec_context.time_base = stream.time_base = unit
        for number, time in enumerate(times):
            image = frame_at(places(time - times[0]), number)
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts, frame.time_base = round(time / unit), unit
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def steady(seconds: float, start: float = 0.0) -> list[float]:
    """Times of RATE frames a second."""
    return [start + number / RATE for number in range(round(seconds * RATE))]


def one_face(time: float) -> list[tuple[int, int] | None]:
    """Somebody who sways a little."""
    return [(130 + round(20 * np.sin(time)), 70)]
