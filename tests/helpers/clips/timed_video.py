"""Video files with frames at given times, each known by its picture, and with sound."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

UNIT = Fraction(1, 90_000)


def write_timed(
    path: Path,
    times: Sequence[int],
    *,
    size: tuple[int, int] = (96, 64),
    sound: str | None = None,
    sound_start: float = 0.0,
    samples: NDArray[np.float32] | None = None,
    rate: int = 16_000,
) -> None:
    """A frame for each time.

    Args:
        path: of the file.
        times: in UNITs.
        size: width and height.
        sound: name of the codec; none without it.
        sound_start: in seconds.
        samples: of the sound, from -1 to 1; a second of a tone unless given.
        rate: samples a second.
    """
    width, height = size
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=30, options={"bf": "2", "crf": "12"})
        video.width, video.height, video.pix_fmt = width, height, "yuv420p"
        video.codec_context.time_base = UNIT
        voice = None
        if sound is not None:
            voice = container.add_stream(sound, rate=rate)
            voice.layout = "mono"
        for number, time in enumerate(times):
            frame = av.VideoFrame.from_ndarray(picture(number, size), format="rgb24")
            frame.pts, frame.time_base = time, UNIT
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
        if voice is not None:
            if samples is None:
                samples = 0.3 * np.sin(np.arange(rate) / 9).astype(np.float32)
            _encode(container, voice, samples, rate, sound_start)


def picture(number: int, size: tuple[int, int]) -> NDArray[np.uint8]:
    """Grey with a bright column at the left that is wider in each frame."""
    width, height = size
    image = np.full((height, width, 3), 60, np.uint8)
    image[:, : 2 + number % (width - 4)] = 220
    return image


def _encode(container, voice, samples, rate, start) -> None:
    resampler = av.AudioResampler(voice.codec_context.format.name, "mono", rate)
    first = round(start * rate)
    pieces = []
    for begin in range(0, len(samples), 1024):
        block = np.ascontiguousarray(samples[None, begin : begin + 1024])
        frame = av.AudioFrame.from_ndarray(block, format="flt", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = rate, first + begin, Fraction(1, rate)
        pieces += resampler.resample(frame)
    for piece in [*pieces, *resampler.resample(None)]:
        container.mux(voice.encode(piece))
    container.mux(voice.encode(None))
