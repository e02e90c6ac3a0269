"""Waiting for jobs of a server, and files that no server should take."""

from __future__ import annotations

import io
import struct
import time
from pathlib import Path
from typing import Any

import av
import numpy as np

SECONDS = 60.0


def ended(client: Any, name: str) -> dict[str, Any]:
    """What a job's address says once it is done or has failed."""
    end = time.monotonic() + SECONDS
    while True:
        state = client.get(f"/api/jobs/{name}").json()
        if state["state"] in ("done", "failed"):
            return state
        assert time.monotonic() < end, state
        time.sleep(0.05)


def gone(path: Path) -> None:
    """Waits until there is no such path."""
    end = time.monotonic() + SECONDS
    while path.exists():
        assert time.monotonic() < end, path
        time.sleep(0.05)


def plain_video(frames: int = 8, size: tuple[int, int] = (64, 48), rate: int = 12) -> bytes:
    """An MP4 of grey frames."""
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=rate)
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        stream.options = {"preset": "ultrafast"}
        for number in range(frames):
            grey = np.full((size[1], size[0], 3), number % 256, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(grey, format="rgb24")))
        container.mux(stream.encode(None))
    return file.getvalue()


def sound_only() -> bytes:
    """A Matroska file without a picture."""
    file = io.BytesIO()
    with av.open(file, "w", format="matroska") as container:
        stream = container.add_stream("pcm_s16le", rate=8000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), "s16", "mono")
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return file.getvalue()


def with_samples(video: bytes, count: int) -> bytes:
    """The same MP4, whose tables promise so many frames in no more bytes."""
    changed = bytearray(video)
    place = video.index(b"stsz")
    # version and flags, one size for all frames, how many
    changed[place + 4 : place + 16] = struct.pack(">III", 0, 1, count)
    place = video.index(b"stts")
    changed[place + 4 : place + 20] = struct.pack(">IIII", 0, 1, count, 512)
    return bytes(changed)
