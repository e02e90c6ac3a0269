"""timeline.png: its lanes, its colours, its words."""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
import pytest
from helpers.analyses import an_analysis, nobody
from PIL import Image

from peclip_fast.analyze.outputs import timeline
from peclip_fast.analyze.outputs.digest import digest
from peclip_fast.analyze.outputs.timeline import clock, ink, summary, ticks, timeline_png
from peclip_fast.analyze.results import TrackRow
from peclip_fast.plots.palette import look


def pixels(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).astype(int)


def drawn(analysis) -> np.ndarray:
    return pixels(timeline_png(analysis, digest(analysis), {}))


def shares(image: np.ndarray, classes: int) -> list[float]:
    """Of each class's colour among the pixels."""
    colours = [[int(look(n).colour[i : i + 2], 16) for i in (1, 3, 5)] for n in range(classes)]
    return [(abs(image - colour).max(-1) < 3).mean() for colour in colours]


def test_each_person_adds_a_lane():
    heights = [len(drawn(an_analysis(people=n))) for n in (1, 2, 6, 8)]
    lane = heights[1] - heights[0]
    assert lane > 150
    assert np.allclose(np.diff(heights), [lane, 4 * lane, 2 * lane], atol=2)


def test_the_area_of_a_colour_is_how_probable_the_class_is():
    """Happiness has 0.8 for one half and 0.2 for the other, and its bar is as long as one half."""
    image = drawn(replace(an_analysis(people=1), speech=None, cuts=()))
    happy, sad, angry = shares(image, 3)
    assert happy > sad > 2 * angry > 0


def test_faces_are_taken_from_the_video(tmp_path):
    """From the frames and boxes that the digest names, and nothing else is asked for."""
    made = an_analysis(people=1)
    asked = []

    def frames(numbers):
        for number in sorted(numbers):
            asked.append(number)
            image = np.zeros((60, 80, 3), np.uint8)
            image[12:43, 10:34] = (255, 0, 255)
            yield number, image

    timeline.draw(made, tmp_path / "timeline.png", frames)
    image = pixels((tmp_path / "timeline.png").read_bytes())
    wanted = {number for number, _ in digest(made).tracks[1].faces.values()}
    assert asked == sorted(wanted)
    assert len(wanted) > 15
    assert (abs(image - (255, 0, 255)).max(-1) < 3).mean() > 0.01
    assert [path.name for path in tmp_path.iterdir()] == ["timeline.png"]


def test_gaps_cuts_and_speech_are_drawn():
    made = replace(an_analysis(people=1), cuts=(), speech=None)
    plain = drawn(made)
    with_cut = drawn(replace(made, cuts=(2.0,)))
    assert plain.shape == with_cut.shape
    columns = np.flatnonzero((plain != with_cut).any((0, 2)))
    assert len(columns) < 60  # a line and its word
    spoken = drawn(replace(made, speech=((0.5, 1.5),)))
    assert len(spoken) > len(plain)
    whole = [row for row in made.frames if row.success or row.track is None]
    assert shares(plain, 3)[0] < shares(drawn(replace(made, frames=whole)), 3)[0]


def test_nobody():
    assert drawn(nobody()).shape[0] > 150


def test_many_tracks_fit():
    rows = [TrackRow(n, n / 10, n / 10 + 0.05, n, n, 1, 0) for n in range(1, 40)]
    image = drawn(replace(an_analysis(), tracks=rows))
    assert len(image) < len(drawn(an_analysis(people=2)))


@pytest.mark.parametrize("classes", [1, 7, 43])
def test_any_number_of_classes(classes):
    made = replace(an_analysis(people=1), classes=tuple(f"class {n}" for n in range(classes)))
    rows = [replace(row, prediction=None,
                    probabilities=row.probabilities and (1 / classes,) * classes)
            for row in made.frames]  # fmt: skip
    tracks = [replace(row, probabilities=(1 / classes,) * classes) for row in made.tracks]
    assert drawn(replace(made, frames=rows, tracks=tracks)).size


@pytest.mark.parametrize(
    ("time", "text"),
    [(0, "0:00.0"), (59.96, "1:00.0"), (61.25, "1:01.2"), (7325.5, "2:02:05.5"), (-1.5, "-0:01.5"),
     (-0.01, "0:00.0")],
)  # fmt: skip
def test_clock(time, text):
    assert clock(time) == text


@pytest.mark.parametrize("length", [0.001, 0.7, 3, 61, 599, 7200, 90_000])
def test_ticks(length):
    found = ticks(2.0, 2.0 + length)
    assert len(found) <= 15
    assert all(2.0 - 1e-9 <= time <= 2.0 + length + 1e-9 for time in found)
    if length > 1:
        assert len(found) >= 3
        assert len(set(map(clock, found))) == len(found)


def test_ink_is_read_on_every_colour():
    """A contrast of 4.5 and more, as WCAG 2 wants it."""
    for number in range(8):
        colour = look(number).colour
        other = {"#000000": "#FFFFFF", "#FFFFFF": "#000000"}[ink(colour)]
        levels = []
        for one in (colour, ink(colour), other):
            rgb = np.array([int(one[i : i + 2], 16) / 255 for i in (1, 3, 5)])
            linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
            levels.append(float(linear @ (0.2126, 0.7152, 0.0722)) + 0.05)
        good, bad = (max(levels[0], x) / min(levels[0], x) for x in levels[1:])
        assert good >= max(4.5, bad)


def test_the_summary():
    assert summary(digest(an_analysis())) == (
        "0:00.0 to 0:06.0, 60 frames, 2 tracks; no face in 8 % of the frames"
    )
