"""One face is followed over a clip; frames without one have the nearest's."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.clips.bright_faces import LAYOUT, BrightFaces

from peclip_fast.data.decoding.clip_source import open_clip_source
from peclip_fast.faces.geometry import Face, box
from peclip_fast.faces.landmarks import LandmarkModel, around
from peclip_fast.prepare.cues import clip_cues as module
from peclip_fast.prepare.cues.clip_cues import clip_cues, nearest_seen


class Faces(LandmarkModel):
    """Faces at given boxes: a frame's first pixel says which frame it is."""

    def __init__(self, frames: list[list[tuple[float, float, float]]]) -> None:
        self.frames, self.searches = frames, 0

    def detect(self, frame):
        self.searches += 1
        boxes = [np.array([x, y, side, side]) for x, y, side in self.frames[frame[0, 0, 0]]]
        return [Face(b, np.stack([b[:2] - 1, b[:2] + 1]), 1.0) for b in boxes]

    def measure(self, frame, where):
        """Of the face that is nearest to the middle of the square, if one is in it."""
        here = [
            face
            for face in self.frames[frame[0, 0, 0]]
            if max(abs(face[0] - where.x), abs(face[1] - where.y)) < where.side / 2
        ]
        if not here:
            return None
        x, y, side = min(here, key=lambda f: abs(f[0] - where.x) + abs(f[1] - where.y))
        return (LAYOUT - 0.5) * side + (x, y)


def centres(model: Faces) -> np.ndarray:
    """x of the followed face in every frame."""
    frames = [np.full((40, 60, 3), number, np.uint8) for number in range(len(model.frames))]
    points = clip_cues(frames, model, None).points
    return np.array([box(frame)[0] for frame in points])


def test_of_two_faces_of_about_one_size_the_first_is_kept():
    """Their sizes change places in every frame; the larger one of the first frame is followed."""
    rng = np.random.default_rng()
    sides = rng.uniform(10, 12, (35, 2))
    sides[0] = 12, 10
    model = Faces([[(50, 20, b), (12 + 0.2 * k, 20, a)] for k, (a, b) in enumerate(sides)])
    assert centres(model) == pytest.approx(12 + 0.2 * np.arange(35))
    assert model.searches == 4  # frames 0, 10, 20, 30


def test_a_face_twice_as_large_is_taken_when_it_is_looked_for():
    model = Faces([[(12, 20, 8)]] * 3 + [[(12, 20, 8), (45, 20, 12)]] * 20)
    assert centres(model) == pytest.approx([12] * 10 + [45] * 13)


def test_a_face_that_is_gone_is_looked_for_at_once():
    """And what FaceMesh finds off its place is not believed."""
    model = Faces([[(12, 20, 10)]] * 4 + [[]] * 3 + [[(40, 20, 10)]] * 2 + [[(44, 20, 10)]])
    assert centres(model) == pytest.approx([12] * 6 + [40] * 3 + [44])
    assert model.searches == 1 + 4 + 1  # the last: it moved by more than faces do


def test_frames_without_a_face_have_the_nearest():
    assert nearest_seen(np.array([0, 1, 0, 0, 0, 1], bool)).tolist() == [0, 0, 0, 0, 1, 1]
    found = np.random.default_rng().random(500) < 0.1
    found[7] = True
    seen = np.flatnonzero(found)
    for frame, index in enumerate(nearest_seen(found)):
        assert abs(seen[index] - frame) == np.abs(seen - frame).min()


def test_maps_are_filled_as_points_are():
    frames = np.zeros((4, 48, 64, 3), np.uint8)
    frames[1, :20, 10:30] = frames[3, 20:40, 30:50] = 255

    class Corner:
        def regions(self, frame, points):
            return np.full((3, 4), int(points[0, 0]), np.uint8)

    cues = clip_cues(frames, BrightFaces(), Corner())
    assert cues.size == (48, 64)
    assert cues.found.tolist() == [False, True, False, True]
    assert cues.points[:, 0].tolist() == [[10, 0], [10, 0], [10, 0], [30, 20]]
    assert cues.regions.shape == (4, 3, 4)
    assert cues.regions[:, 0, 0].tolist() == [10, 10, 10, 30]


def test_a_clip_without_a_face():
    cues = clip_cues(np.zeros((3, 20, 30, 3), np.uint8), BrightFaces(), None)
    assert cues.points.shape == (3, 468, 2)
    assert np.isnan(cues.points).all()
    assert not cues.found.any()
    assert cues.regions is None


def test_where_a_face_was_is_its_square():
    points = LAYOUT * (40, 20) + (5, 9)
    points[33], points[263] = (10, 15), (30, 15 + 20 * np.tan(0.3))
    x, y, side, angle = around(points)
    assert (x, y, side) == pytest.approx((25, 19, 60))
    assert angle == pytest.approx(0.3)
    assert module._LOOK == 10  # which the numbers above take for granted


def test_after_a_cut_the_other_face_is_measured(assets):
    """In its first frame, to within 2 % of its width, as without any frame before."""
    model = LandmarkModel()
    frames = []
    for name in ("woman_sad_640x360_h264.mp4", "single_face_640x360_h264.mp4"):
        source = open_clip_source(assets / "videos" / name)
        frames.append(source.read(range(4)))
        source.close()
    cues = clip_cues(np.concatenate(frames), model, None)
    assert cues.found.all()
    expected = model.landmarks(frames[1][0])
    error = np.hypot(*(cues.points[4] - expected).T).mean()
    assert error < 0.02 * np.ptp(expected[:, 0])
