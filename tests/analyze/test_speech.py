"""Speech is found where it is, by the clock of the video, and a hum is none."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch
from helpers.clips.timed_video import write_timed
from numpy.typing import NDArray

from peclip_fast.analyze.speech import RATE, find_speech
from peclip_fast.errors import InputError

TIMES = [9000 * n for n in range(20)]
VOWELS = np.array([(730, 1090, 2440), (270, 2290, 3010), (300, 870, 2240), (530, 1840, 2480)])


def voice(seconds: float, seed: int) -> NDArray[np.float32]:
    """A buzz through three resonances that change four times a second, as those of a mouth do."""
    rng = np.random.default_rng(seed)
    times = np.arange(int(seconds * RATE)) / RATE
    pitch = 120 * (1 + 0.08 * np.sin(13 * times) + 0.03 * np.sin(31 * times))
    phase = 2 * np.pi * np.cumsum(pitch) / RATE
    kinds = rng.integers(0, len(VOWELS), int(4 * seconds) + 1)[(4 * times).astype(int)]
    smooth = np.ones(800) / 800
    heard = [np.convolve(np.pad(f, (400, 399), "edge"), smooth, "valid") for f in VOWELS[kinds].T]
    sound = np.zeros(len(times))
    for number in range(1, 34):
        near = [
            gain / (1 + ((number * pitch - f) / width) ** 2)
            for f, gain, width in zip(heard, (1, 0.5, 0.25), (60, 90, 150), strict=True)
        ]
        sound += sum(near) / number**0.3 * np.sin(number * phase)
    sound *= 0.55 + 0.45 * np.sin(8 * np.pi * times - 1.5)
    return (0.3 * sound / abs(sound).max()).astype(np.float32)


def silence(seconds: float) -> NDArray[np.float32]:
    return np.zeros(int(seconds * RATE), np.float32)


TALK = np.concatenate([silence(1), voice(2, 0), silence(1.5), voice(1.5, 1), silence(1)])


@pytest.mark.parametrize(
    ("name", "codec", "options", "later"),
    [
        ("in.mp4", "aac", {}, 0.0),
        ("in.mp4", "aac", {"sound_start": 0.8}, 0.8),
        ("in.mkv", "pcm_s16le", {"sound_start": 0.3}, 0.3),
        ("in.ts", "mp2", {}, 0.13),  # B-frames move such a stream
    ],
)
def test_when_there_is_speech(tmp_path, name, codec, options, later):
    write_timed(tmp_path / name, TIMES, sound=codec, samples=TALK, **options)
    threads = torch.get_num_threads()
    found = find_speech(tmp_path / name)
    assert torch.get_num_threads() == threads
    expected = np.array([(1.0, 3.0), (4.5, 6.0)]) + later
    np.testing.assert_allclose(found, expected, atol=0.15)


def test_a_video_that_starts_late_keeps_its_clock(tmp_path):
    path = tmp_path / "in.mp4"
    write_timed(path, [t + 450_000 for t in TIMES], sound="aac", samples=TALK, sound_start=5.0)
    np.testing.assert_allclose(find_speech(path)[0], (6.0, 8.0), atol=0.15)


def test_a_hum_and_no_sound_are_no_speech(tmp_path):
    hum = 0.3 * np.sin(np.arange(3 * RATE) * 2 * np.pi * 100 / RATE).astype(np.float32)
    write_timed(tmp_path / "hum.mp4", TIMES, sound="aac", samples=hum)
    write_timed(tmp_path / "none.mp4", TIMES)
    assert find_speech(tmp_path / "hum.mp4") == ()
    assert find_speech(tmp_path / "none.mp4") == ()


def test_without_the_package(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "silero_vad", None)
    with pytest.raises(InputError, match=r"--speech needs silero-vad .*peclip-fast\[speech\]"):
        find_speech(tmp_path / "in.mp4")


def test_no_file(tmp_path):
    with pytest.raises(InputError, match=r"gone\.mp4"):
        find_speech(tmp_path / "gone.mp4")
