"""Faces are cut out where their boxes are, and frames come from files."""

from __future__ import annotations

import io

import numpy as np
import pytest
from helpers.clips.timed_video import write_timed
from PIL import Image

from peclip_fast.analyze.outputs.digest import CELLS
from peclip_fast.analyze.outputs.pictures import SIDE, cut_out, frames_of_file, jpeg, strip_jpeg
from peclip_fast.errors import InputError
from peclip_fast.faces.box import Box


def test_the_box_is_in_the_middle():
    image = np.zeros((200, 300, 3), np.uint8)
    image[50:110, 100:140] = 255
    found = cut_out(image, Box(100, 50, 40, 60))
    assert found.shape == (SIDE, SIDE, 3)
    rows, columns = (np.flatnonzero(found[..., 0].max(axis) > 128) for axis in (1, 0))
    assert abs(rows.mean() - SIDE / 2) < 1.5
    assert abs(columns.mean() - SIDE / 2) < 1.5
    assert abs(len(rows) / len(columns) - 1.5) < 0.1


@pytest.mark.parametrize(
    "box",
    [Box(-30, -30, 50, 50), Box(290, 180, 40, 40), Box(500, 500, 9, 9), Box(5, 5, 0, 0),
     Box(-50, -50, 1000, 1000)],
)  # fmt: skip
def test_boxes_beyond_the_frame(box):
    image = np.full((200, 300, 3), 255, np.uint8)
    found = cut_out(image, box)
    assert found.shape == (SIDE, SIDE, 3)
    if box.x == 500:
        assert (found == 128).all()


def test_a_strip_has_a_place_for_each_cell():
    faces = {2: np.full((SIDE, SIDE, 3), 10, np.uint8)}
    with Image.open(io.BytesIO(strip_jpeg(faces))) as image:
        assert image.size == (CELLS * SIDE, SIDE)
        grey = np.asarray(image.convert("L"))
    assert grey[:, 2 * SIDE + 8 : 3 * SIDE - 8].max() < 30
    assert grey[:, 3 * SIDE + 8 :].min() > 240


def test_a_picture_is_made_smaller_and_never_larger():
    for size, most, expected in ((80, 40, (40, 20)), (80, 400, (80, 40)), (80, None, (80, 40))):
        with Image.open(io.BytesIO(jpeg(np.zeros((size // 2, size, 3), np.uint8), most))) as image:
            assert image.size == expected


def test_frames_of_a_file(tmp_path):
    """Each once and in order, with one in memory at a time."""
    path = tmp_path / "in.mp4"
    write_timed(path, [3000 * n for n in range(30)])
    found = list(frames_of_file(path)([20, 3, 3, 7, 11, 99, -1]))
    assert [number for number, _ in found] == [3, 7, 11, 20]
    widths = [int((image[30, :, 0] > 140).sum()) for _, image in found]
    assert widths == [5, 9, 13, 22]
    assert list(frames_of_file(path)([99])) == []


def test_a_missing_file(tmp_path):
    frames = frames_of_file(tmp_path / "gone.mp4")
    with pytest.raises(InputError, match=r"gone\.mp4"):
        list(frames([1]))
