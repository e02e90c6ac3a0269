"""Pictures with a number that any encoder leaves readable, and coloured corners; their videos."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import av
import numpy as np
from helpers.apart import apart

HEIGHT, WIDTH, RATE = 48, 64, 25
DARK, BRIGHT = 60, 220
_BARS = 8  # bits of a number


def picture(number: int, height: int = HEIGHT, width: int = WIDTH) -> np.ndarray:
    """The number in bars over the lower half; red is the corner on the top left, blue the right."""
    image = np.full((height, width, 3), DARK, np.uint8)
    for bit in range(_BARS):
        if number >> bit & 1:
            image[height // 2 :, bit * width // _BARS : (bit + 1) * width // _BARS] = BRIGHT
    image[: height // 4, : width // 4] = (255, 0, 0)
    image[: height // 4, -width // 4 :] = (0, 0, 255)
    return image


def number_of(image: np.ndarray) -> int:
    height, width = image.shape[:2]
    rows = image[int(0.62 * height) : int(0.9 * height)]
    edges = (np.arange(_BARS)[:, None] + (0.25, 0.75)) * width / _BARS
    bars = [rows[:, int(left) : int(right)].mean() for left, right in edges]
    return sum(1 << bit for bit, mean in enumerate(bars) if mean > (DARK + BRIGHT) / 2)


def numbers_of(images: np.ndarray | Sequence[np.ndarray]) -> list[int]:
    return [number_of(image) for image in images]


def corners_of(image: np.ndarray) -> str:
    """R, B or a dot for each corner: top left, top right, bottom left, bottom right."""
    height, width = image.shape[:2]
    size = min(height, width) // 5

    def name(place: np.ndarray) -> str:
        red, _, blue = place.reshape(-1, 3).mean(axis=0)
        return "R" if red > 150 > blue else "B" if blue > 150 > red else "."

    places = (
        image[:size, :size],
        image[:size, -size:],
        image[-size:, :size],
        image[-size:, -size:],
    )
    return "".join(map(name, places))


def write_numbered(
    path: Path,
    encoder: str = "libx264",
    options: dict[str, str] | None = None,
    pixels: str = "yuv420p",
    count: int = 30,
    size: tuple[int, int] = (HEIGHT, WIDTH),
    muxer: dict[str, str] | None = None,
) -> Path:
    """A video of pictures 0, 1, ..., at 25 a second."""
    arguments = (path, encoder, options or {}, pixels, count, size, muxer or {})
    if encoder == "libsvtav1":
        apart(_write, *arguments)
    else:
        _write(*arguments)
    return path


def _write(
    path: Path,
    encoder: str,
    options: dict[str, str],
    pixels: str,
    count: int,
    size: tuple[int, int],
    muxer: dict[str, str],
) -> None:
    with av.open(os.fspath(path), mode="w", container_options=muxer) as container:
        stream = container.add_stream(encoder, rate=RATE, options=options)
        stream.height, stream.width = size
        stream.pix_fmt = pixels
        if encoder != "libsvtav1":  # which at this size takes no rate
            stream.bit_rate = 4_000_000
        for number in range(count):
            frame = av.VideoFrame.from_ndarray(picture(number, *size), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def copy_packets(
    source: Path, target: Path, *, first: int = 0, made_up: bool = False, late: float = 0.0
) -> Path:
    """The packets of a video in another file, as they are.

    Args:
        source: the video.
        target: the new file.
        first: packets before it are left out.
        made_up: presentation times become decoding times, as programs make them up for AVI.
        late: seconds that are added to all times.
    """
    with av.open(str(source)) as old, av.open(str(target), "w") as new:
        stream = new.add_stream_from_template(old.streams.video[0], opaque=True)
        packets = [packet for packet in old.demux(video=0) if packet.size][first:]
        ascending = sorted(packet.pts for packet in packets)
        for packet, time in zip(packets, ascending, strict=True):
            if made_up:
                packet.pts = packet.dts = time
            shift = round(late / packet.time_base)
            packet.pts += shift
            packet.dts = None if packet.dts is None else packet.dts + shift
            packet.stream = stream
            new.mux(packet)
    return target
