"""Packed clips: what is damaged is refused, or gives the same frames."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from helpers.damage import damaged

from peclip_fast.data.decoding.clip_source import open_clip_source
from peclip_fast.data.decoding.jpeg import encode_jpeg
from peclip_fast.data.decoding.packed_file import check_packed, packed_file, packed_jpegs, read_note
from peclip_fast.errors import InputError

NOTE = {"frames": 3, "source": "here"}


@pytest.fixture
def packed(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 255, (3, 24, 32, 3), np.uint8)
    path = tmp_path / "clip.mkv"
    path.write_bytes(packed_file([encode_jpeg(f, 90) for f in frames], (24, 32), [0, 40, 90], NOTE))
    return path


def frames(path: Path) -> np.ndarray:
    source = open_clip_source(path)
    try:
        return source.read(range(source.num_frames))
    finally:
        source.close()


def test_the_note_comes_back(packed: Path) -> None:
    assert read_note(packed) == NOTE
    assert len(packed_jpegs(packed.read_bytes())) == 3


def test_damage(packed: Path) -> None:
    whole, refusals = frames(packed), []
    for number, data in enumerate(damaged(packed.read_bytes(), 300)):
        packed.write_bytes(data)
        os.utime(packed, ns=(number, number))  # as a later write would have it
        try:
            found = frames(packed)
        except InputError as error:
            refusals.append(str(error))
            continue
        assert np.array_equal(found, whole)
    assert len(refusals) > 150
    assert all(refusal.startswith(f"{packed}: ") for refusal in refusals)


def test_each_frame_counts(packed: Path) -> None:
    """Also where the container is whole: a frame of another clip, and another order."""
    data = packed.read_bytes()
    jpegs = packed_jpegs(data)
    places = [data.index(jpeg) for jpeg in jpegs]
    middle = bytearray(data)
    middle[places[1] + len(jpegs[1]) // 2] ^= 1
    packed.write_bytes(middle)
    with pytest.raises(InputError, match=r"clip\.mkv: damaged: .* pack it again"):
        check_packed(packed)
    assert read_note(packed) is None


def test_other_videos_are_taken_as_they_are(video_at, tmp_path: Path) -> None:
    assert check_packed(video_at(tmp_path / "clip.mp4", 5)) is None
    assert read_note(tmp_path / "missing.mkv") is None
