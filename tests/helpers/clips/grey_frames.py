"""Writers of tiny frame folders and videos, in which frame k can be told by its grey."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

GREY_STEP = 5


def grey_frame(number: int, height: int = 48, width: int = 64) -> np.ndarray:
    """A flat frame whose grey names it: 20, 25, 30, ..."""
    return np.full((height, width, 3), 20 + GREY_STEP * number, dtype=np.uint8)


def numbers_of(frames: np.ndarray) -> list[int]:
    """Back from grey to frame numbers."""
    greys = frames.reshape(len(frames), -1).mean(axis=1)
    return [round((grey - 20) / GREY_STEP) for grey in greys]


def write_frames(
    folder: Path, count: int, name: str = "{:05d}.jpg", height: int = 48, width: int = 64
) -> Path:
    """A frame folder; frames are numbered from 1 as the datasets do."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        Image.fromarray(grey_frame(number, height, width)).save(folder / name.format(number + 1))
    return folder


def write_video(
    path: Path,
    count: int,
    codec: str = "libx264",
    options: dict[str, str] | None = None,
    pixels: str = "yuv420p",
    height: int = 48,
    width: int = 64,
    rate: int = 25,
    times: Sequence[int] | None = None,
) -> Path:
    """A video of grey frames; ``times`` are presentation times in units of 1 / rate."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), mode="w") as container:
        stream = container.add_stream(codec, rate=rate, options=options or {})
        stream.width, stream.height, stream.pix_fmt = width, height, pixels
        stream.bit_rate = 4_000_000  # enough that the grey survives
        for number in range(count):
            frame = av.VideoFrame.from_ndarray(grey_frame(number, height, width), format="rgb24")
            frame.time_base = Fraction(1, rate)
            frame.pts = number if times is None else times[number]
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


@pytest.fixture
def frames_at() -> Callable[..., Path]:
    return write_frames


@pytest.fixture
def video_at() -> Callable[..., Path]:
    return write_video


@pytest.fixture
def numbers() -> Callable[[np.ndarray], list[int]]:
    return numbers_of
