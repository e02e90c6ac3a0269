"""What is asked for of a video is what all of it holds there, in whatever order and part."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from helpers.clips.grey_frames import numbers_of, write_video
from hypothesis import given, settings
from hypothesis import strategies as st

from peclip_fast.data.decoding.clip_source import open_clip_source
from peclip_fast.errors import InputError

COUNT, RATE = 30, 25
KINDS = {
    "mp4": ("libx264", {"g": "8", "bf": "2"}),
    "webm": ("libvpx-vp9", {"g": "8"}),
    "mkv": ("libx264", {"g": "8", "bf": "3", "x264-params": "open-gop=1"}),
    "avi": ("mjpeg", {}),
}
TIMES = st.none() | st.floats(0, 1.3)


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("videos")
    return {
        suffix: write_video(
            folder / f"v.{suffix}", COUNT, codec, options,
            pixels="yuvj420p" if codec == "mjpeg" else "yuv420p", rate=RATE,
        )
        for suffix, (codec, options) in KINDS.items()
    }  # fmt: skip


@settings(max_examples=40)
@given(
    suffix=st.sampled_from(list(KINDS)),
    asked=st.lists(st.lists(st.integers(0, COUNT - 1), min_size=1, max_size=8), max_size=3),
)
def test_frames_come_back_under_their_numbers(videos, suffix: str, asked: list[list[int]]) -> None:
    """Forwards, backwards, twice: one reading doesn't change the next."""
    source = open_clip_source(videos[suffix])
    try:
        assert source.num_frames == COUNT
        for indices in asked:
            assert numbers_of(source.read(indices)) == indices
        assert numbers_of(np.stack(list(source.frames()))) == list(range(COUNT))
    finally:
        source.close()


@settings(max_examples=60)
@given(suffix=st.sampled_from(list(KINDS)), start=TIMES, cut=st.floats(0.001, 1.3), end=TIMES)
def test_two_parts_are_the_whole(videos, suffix, start, cut, end) -> None:
    """What is before a moment and what is from it on: no frame twice, none left out."""

    def part(first: float | None, last: float | None) -> list[int]:
        if first is not None and last is not None and first >= last:
            return []
        try:
            source = open_clip_source(videos[suffix], first, last)
        except InputError as error:
            if "no frames from" not in str(error):
                raise
            return []
        numbers = numbers_of(source.read(range(source.num_frames)))
        source.close()
        return numbers

    whole, early, late = part(start, end), part(start, cut), part(cut, end)
    if (start is None or start <= cut) and (end is None or cut <= end):
        assert early + late == whole
    # A frame belongs to the part that its moment lies in, to what a double can tell.
    moments = [number / RATE for number in whole]
    assert all((start or 0) - 1e-6 <= moment for moment in moments)
    assert end is None or all(moment < end + 1e-6 for moment in moments)
