"""The annotated video has the source's frames at the source's times, upright, and its sound."""

from __future__ import annotations

from dataclasses import replace

import av
import numpy as np
import pytest
from helpers.analyses import an_analysis
from helpers.clips.drawn_clips import turn_video
from helpers.clips.timed_video import UNIT, write_timed

from peclip_fast.analyze.outputs.video import annotate, rows_of_frames
from peclip_fast.analyze.results import FaceRow
from peclip_fast.errors import InputError
from peclip_fast.faces.box import Box
from peclip_fast.plots.palette import look

RNG = np.random.default_rng(5)
VARIABLE = np.cumsum(RNG.integers(1200, 3800, 24)).tolist()  # 13 to 42 ms
STEADY = [3000 * n for n in range(24)]


def frame_times(path):
    with av.open(str(path)) as container:
        return [frame.pts * frame.time_base for frame in container.decode(video=0)]


def sound_of(path):
    """(time, bytes) of each packet."""
    with av.open(str(path)) as container:
        return [(float(p.pts * p.time_base), bytes(p)) for p in container.demux(audio=0) if p.size]


def analysis_of(times):
    rows = [FaceRow(n, float(t * UNIT), 1, Box(30.0, 20.0, 24.0, 30.0), 0.9,
                    (0.7, 0.2, 0.1)) for n, t in enumerate(times)]  # fmt: skip
    return replace(an_analysis(people=1), frames=rows, cuts=(), speech=None)


CASES = {
    "variable rate": ("in.mp4", VARIABLE, {"sound": "aac"}, ".mp4"),
    "late video": ("in.mp4", [t + 135_000 for t in STEADY], {"sound": "aac"}, ".mp4"),
    "late, no sound": ("in.mp4", [t + 135_000 for t in STEADY], {}, ".mp4"),
    "late sound": ("in.mp4", STEADY, {"sound": "aac", "sound_start": 0.4}, ".mp4"),
    "transport stream": ("in.ts", VARIABLE, {"sound": "aac"}, ".mp4"),
    "QuickTime, PCM": ("in.mov", VARIABLE, {"sound": "pcm_s16le"}, ".mp4"),
    "QuickTime, a codec of telephones": ("in.mov", VARIABLE, {"sound": "pcm_mulaw"}, ".mov"),
    "a codec of few": ("in.mkv", [n * 3600 for n in range(24)], {"sound": "tta"}, ".mkv"),
}


@pytest.mark.parametrize("kind", CASES)
def test_times_and_sound_are_kept(tmp_path, kind):
    name, times, options, suffix = CASES[kind]
    source = tmp_path / name
    write_timed(source, times, **options)
    found = annotate(analysis_of(times), source, tmp_path / "annotated")
    assert found == tmp_path / f"annotated{suffix}"
    assert frame_times(found) == frame_times(source)
    if "sound" in options:
        before, after = sound_of(source), sound_of(found)
        assert before
        if name != "in.ts":  # where each packet has a header of its own
            assert [data for _, data in after] == [data for _, data in before]
        np.testing.assert_allclose([t for t, _ in after], [t for t, _ in before], atol=1e-3)
    assert {path.name for path in tmp_path.iterdir()} == {name, found.name}


def frames(path):
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def test_a_turned_video_stands_upright(tmp_path):
    source = tmp_path / "in.mov"
    write_timed(source, STEADY[:8])
    turn_video(source, 1)
    found = annotate(analysis_of(STEADY[:8]), source, tmp_path / "out")
    images = frames(found)
    assert images[0].shape == (96, 64, 3)
    assert images[2][2, 5:60].mean() > 200  # the bright column of the left is at the top
    with av.open(str(found)) as container:
        frame = next(container.decode(video=0))
        assert frame.rotation == 0


def test_odd_sizes(tmp_path):
    source = tmp_path / "in.mkv"
    with av.open(str(source), "w") as container:
        stream = container.add_stream("ffv1", rate=10)
        stream.width, stream.height, stream.pix_fmt = 97, 65, "bgr0"
        for _ in range(4):
            grey = np.full((65, 97, 3), 90, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(grey, format="rgb24")))
        container.mux(stream.encode(None))
    images = frames(annotate(analysis_of(STEADY[:4]), source, tmp_path / "out"))
    assert len(images) == 4
    assert images[0].shape == (66, 98, 3)


def test_what_is_drawn_where(tmp_path):
    """The box in the class's colour around the face, the bar at the bottom, all else as it was."""
    source = tmp_path / "in.mp4"
    write_timed(source, STEADY, size=(320, 240))
    made = analysis_of(STEADY)
    moved = [replace(row, box=Box(120.0, 80.0, 60.0, 70.0)) for row in made.frames]
    image = frames(annotate(replace(made, frames=moved), source, tmp_path / "out"))[3].astype(int)
    blue = np.array([int(look(0).colour[n : n + 2], 16) for n in (1, 3, 5)])
    assert abs(image[115, 120] - blue).max() < 60  # the left side
    assert abs(image[115, 150] - 60).max() < 12  # inside of it
    assert abs(image[115, 300] - 60).max() < 12  # beside it
    assert image[235].mean() < 150
    assert abs(image[72, 124:160] - blue).min(0).max() < 60  # the label above it


def test_frames_between_those_that_were_looked_at():
    rows = [FaceRow(n, n / 10, 1) for n in (4, 6, 8)]
    found = list(rows_of_frames(replace(an_analysis(), frames=rows), 12))
    numbers = [now[0].frame if now else None for now in found]
    assert numbers == [None] * 4 + [4, 4, 6, 6, 8, 8] + [None] * 2
    assert [len(now) for now in rows_of_frames(replace(an_analysis(), frames=[]), 3)] == [0] * 3


def test_a_broken_source_leaves_nothing(tmp_path):
    source = tmp_path / "in.mp4"
    source.write_bytes(b"no video at all" * 99)
    with pytest.raises(InputError, match=r"in\.mp4"):
        annotate(an_analysis(), source, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["in.mp4"]


def test_a_stop_in_the_middle_leaves_nothing(tmp_path):
    source = tmp_path / "in.mp4"
    write_timed(source, STEADY)

    def stop(number):
        if number == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        annotate(analysis_of(STEADY), source, tmp_path / "out", stop)
    assert [path.name for path in tmp_path.iterdir()] == ["in.mp4"]
