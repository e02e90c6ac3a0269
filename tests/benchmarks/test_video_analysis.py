"""What is analyzed is what is said: parts and repeats of a video, and rates of all its frames."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import av
import pytest
from helpers.clips.face_videos import one_face, steady, write_faces_video

from benchmarks.video_analysis import measure, memory
from benchmarks.video_analysis.repeating import write_parts, write_repeated
from peclip_fast import Analyzer
from peclip_fast.faces.crop import CropProfile


@pytest.fixture(scope="module")
def video(tmp_path_factory) -> Path:
    """Three seconds of a face, with B-frames."""
    path = tmp_path_factory.mktemp("videos") / "one.mp4"
    return write_faces_video(path, steady(3.0), one_face, {"bf": "3"})


def times_of(path: Path) -> list[float]:
    with av.open(str(path)) as container:
        return [float(frame.time) for frame in container.decode(video=0)]


def test_a_video_over_and_over_has_even_times(video, tmp_path):
    assert write_repeated(video, tmp_path / "long.mp4", 0.2) == 4
    times = times_of(tmp_path / "long.mp4")
    assert len(times) == 4 * 36
    steps = [after - before for before, after in pairwise(times)]
    assert max(abs(step - 1 / 12) for step in steps) < 1e-3


def test_parts_begin_all_over_it(video, tmp_path):
    paths = write_parts(video, tmp_path / "parts", 3, 0.8)
    assert [len(times_of(path)) for path in paths] == [20, 20, 20]
    assert len({path.read_bytes() for path in paths}) == 3


@pytest.mark.parametrize("with_model", [False, True])
def test_a_rate_is_of_all_frames(video, trained_run, with_model):
    analyzer = Analyzer(trained_run, "cpu", crop=CropProfile(1.5, 0, -0.1), window=1.0)
    queue = analyzer.queue() if with_model else measure.NoModel()
    found = measure.frames_per_s(analyzer, queue, video, 1 << 30)
    assert found["found"] == 1.0
    assert 0 < found["frames_per_s"] < 36 / 0.01


def test_the_last_whole_row_tells_how_far_it_is(tmp_path):
    table = tmp_path / "frames.csv"
    assert memory._time_of_last_row(table) == 0
    table.write_text("frame,timestamp,track\n")
    assert memory._time_of_last_row(table) == 0
    table.write_text("frame,timestamp,track\n0,0.000000,1\n1,0.5,1\n2,0.7")
    assert memory._time_of_last_row(table) == 0.5


@pytest.mark.parametrize(
    ("row", "same"),
    [
        ("1,joy,0.500000", True),
        ("1,joy,0.500001", True),
        ("1,joy,0.500020", False),
        ("1,joy,", False),
        ("2,joy,0.500000", False),
        ("1,rage,0.500000", False),
        ("1,joy,0.500000\n2,joy,0.500000", False),
    ],
)
def test_tables_are_alike_to_rounding(row, same, tmp_path):
    one, other = tmp_path / "one.csv", tmp_path / "other.csv"
    one.write_text("frame,prediction,p_joy\n1,joy,0.500000\n")
    other.write_text(f"frame,prediction,p_joy\n{row}\n")
    assert measure.alike(one, other) is same
