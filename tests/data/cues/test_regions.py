"""Regions lie where they belong on a real face, and move along with its landmarks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from peclip_fast.data.cues.regions import REGIONS, region_map
from peclip_fast.data.decoding.clip_source import open_clip_source
from peclip_fast.faces.landmarks import LandmarkModel


@pytest.fixture(scope="module")
def points(assets: Path) -> np.ndarray:
    """Of the sample's smiling frame, 640x360."""
    model = LandmarkModel()
    source = open_clip_source(assets / "videos/woman_sad_640x360_h264.mp4")
    (frame,) = source.read([source.num_frames - 1])
    source.close()
    return model.landmarks(frame)


def test_regions_are_stacked_as_in_a_face(points):
    regions = region_map(points, 360, 640)
    rows = {}
    for number, name in enumerate(REGIONS):
        rows[name] = np.nonzero(regions == number)[0]
        assert (len(rows[name]) > 50) == (name != "hair")
    order = [rows[name].mean() for name in ("brows", "eyes", "nose", "mouth")]
    assert order == sorted(order)
    assert len(rows["face"]) > 3 * sum(len(rows[name]) for name in REGIONS[3:]) / 2


def test_regions_move_with_the_landmarks(points):
    x, y = np.random.default_rng().integers(-20, 20, 2)
    before, after = region_map(points, 360, 640), region_map(points + np.array([x, y]), 360, 640)
    shifted = np.roll(before, (y, x), (0, 1))
    assert (after != shifted)[20:-20, 20:-20].mean() < 0.002


def test_a_mirrored_face_has_the_mirrored_map(points):
    before = region_map(points, 360, 640)
    after = region_map(points * (-1, 1) + (639, 0), 360, 640)
    assert (after != before[:, ::-1]).mean() < 0.01
