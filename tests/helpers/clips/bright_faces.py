"""Stands for the face models: a face is a white square, red squares kill the process."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import av
import numpy as np
from PIL import Image

from peclip_fast.data.cues.regions import POINTS
from peclip_fast.faces.landmarks import LandmarkModel

LAYOUT = np.random.default_rng(5).random((POINTS, 2))
LAYOUT[:2] = (0, 0), (1, 1)  # so that their box is the square


class BrightFaces(LandmarkModel):
    """The landmarks of the white square, which lie in it as in ``LAYOUT``."""

    @staticmethod
    def origin() -> str:
        return "bright squares"

    def __init__(self) -> None:
        """No file is opened."""

    def measure(self, frame, where):
        if (frame == (255, 0, 0)).all(-1).any():
            os.kill(os.getpid(), signal.SIGKILL)
        y, x = np.nonzero((frame == 255).all(-1))
        if not len(x):
            return None
        low = np.array([x.min(), y.min()])
        return low + LAYOUT * (np.array([x.max(), y.max()]) + 1 - low)

    def landmarks(self, frame, before=None):
        return self.measure(frame, None)


def write_faces(folder: Path, places: list[tuple[int, int] | None], colour=(255, 255, 255)) -> Path:
    """A clip of PNG frames 64x48 with a square of 20 pixels at each place."""
    folder.mkdir(parents=True)
    for number, place in enumerate(places):
        frame = np.random.default_rng(number).integers(0, 200, (48, 64, 3)).astype(np.uint8)
        if place is not None:
            x, y = place
            frame[y : y + 20, x : x + 20] = colour
        Image.fromarray(frame).save(folder / f"{number:03d}.png")
    return folder


def write_grey_video(path: Path, count: int) -> Path:
    """25 frames a second of 64x48, without a face."""
    with av.open(str(path), mode="w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        grey = np.full((48, 64, 3), 90, np.uint8)
        for _ in range(count):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(grey, format="rgb24")))
        container.mux(stream.encode())
    return path
