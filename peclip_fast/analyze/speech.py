"""When somebody speaks in a video's sound: talking moves the mouth, whatever the expression.

The network is Silero VAD's (MIT); its weights are in its wheel.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
import torch
from av.audio.resampler import AudioResampler
from numpy.typing import NDArray

from peclip_fast.data.decoding.ffmpeg import named_errors, open_container
from peclip_fast.errors import InputError

RATE = 16_000  # of the sound that the network takes, in samples a second
CHUNK = 512  # samples that it takes at a time
PAUSE = 0.3  # seconds of silence that end what is said
_JUMP = 0.05  # seconds by which times of the sound may be off its samples

Spans = tuple[tuple[float, float], ...]


def find_speech(path: Path) -> Spans:
    """From and to, in seconds of the file's own clock, of all that is said; ascending.

    One pass over the sound in constant memory. A video without sound has no speech.

    Args:
        path: a video or sound file.

    Raises:
        InputError: silero-vad is not installed, or the file can't be read.
    """
    detector = _detector()
    with named_errors(path, "its sound can't be read"), open_container(path) as container:
        stream = next((s for s in container.streams.audio if s.codec_context is not None), None)
        if stream is None:
            return ()
        pieces = _resampled(container, stream)
        return tuple(_spans(detector, _chunks(pieces)))


def _detector() -> Any:
    """Silero's own iterator over chunks, one for each file as it keeps a state."""
    threads = torch.get_num_threads()
    try:
        from silero_vad import VADIterator, load_silero_vad

        network = load_silero_vad(onnx=True)
    except ImportError as error:
        raise InputError(
            f"--speech needs silero-vad ({error}): pip install 'peclip-fast[speech]'"
        ) from None
    finally:
        torch.set_num_threads(threads)  # its import takes all threads but one from PyTorch
    return VADIterator(network, sampling_rate=RATE, min_silence_duration_ms=round(1000 * PAUSE))


def _resampled(container: Any, stream: Any) -> Iterator[tuple[float, NDArray[np.float32]]]:
    """(seconds, samples) of the sound at RATE, one channel, from -1 to 1."""
    resampler: AudioResampler | None = None
    time = end = 0.0
    for packet in container.demux(stream):
        try:
            frames = packet.decode()
        except av.FFmpegError:  # a damaged packet is a gap
            continue
        for frame in frames:
            start = end if frame.time is None else frame.time
            if resampler is None or abs(start - end) > _JUMP:
                yield from _pieces(resampler, None, time)
                resampler, time, end = AudioResampler("flt", "mono", RATE), start, start
            end += frame.samples / frame.sample_rate
            for piece in _pieces(resampler, frame, time):
                yield piece
                time += len(piece[1]) / RATE
    yield from _pieces(resampler, None, time)


def _pieces(
    resampler: AudioResampler | None, frame: Any, time: float
) -> Iterator[tuple[float, NDArray[np.float32]]]:
    """What becomes of a frame, or without one what is held back."""
    if resampler is None:
        return
    for piece in resampler.resample(frame):
        samples = piece.to_ndarray().ravel().astype(np.float32, copy=False)
        yield time, samples
        time += len(samples) / RATE


def _chunks(
    pieces: Iterator[tuple[float, NDArray[np.float32]]],
) -> Iterator[tuple[float, NDArray[np.float32]]]:
    """(seconds, CHUNK samples); where the sound has a gap, a chunk is filled up with silence."""
    held, start = np.zeros(0, np.float32), 0.0
    for time, samples in pieces:
        if len(held) and abs(time - start - len(held) / RATE) > _JUMP:
            yield start, np.pad(held, (0, CHUNK - len(held)))
            held = held[:0]
        if not len(held):
            start = time
        held = np.concatenate([held, samples])
        while len(held) >= CHUNK:
            yield start, held[:CHUNK]
            held, start = held[CHUNK:], start + CHUNK / RATE
    if len(held):
        yield start, np.pad(held, (0, CHUNK - len(held)))


def _spans(
    detector: Any, chunks: Iterator[tuple[float, NDArray[np.float32]]]
) -> Iterator[tuple[float, float]]:
    """What the detector says, in samples since it was reset, as times of the file."""
    base, count, begun = 0.0, 0, None  # the time of its sample 0, the samples that it has seen
    end = 0.0
    for time, samples in chunks:
        if count == 0 or abs(time - base - count / RATE) > _JUMP:
            if begun is not None:
                yield begun, end
            detector.reset_states()
            base, count, begun = time, 0, None
        said = detector(torch.from_numpy(samples.copy()))
        count += CHUNK
        end = base + count / RATE
        if said and "start" in said:
            begun = base + said["start"] / RATE
        elif said and begun is not None:
            yield begun, base + said["end"] / RATE
            begun = None
    if begun is not None:
        yield begun, end
