"""Landmarks move along with the face; the models themselves are needed for those tests alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from peclip_fast.data.decoding.clip_source import open_clip_source
from peclip_fast.errors import InputError
from peclip_fast.faces import landmarks
from peclip_fast.faces import models as face_models
from peclip_fast.faces.landmarks import Face, LandmarkModel, Rectangle, merged, rectangle


@pytest.fixture(scope="module")
def model() -> LandmarkModel:
    try:
        return LandmarkModel()
    except InputError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def frame(assets: Path) -> np.ndarray:
    source = open_clip_source(assets / "videos/woman_sad_640x360_h264.mp4")
    (image,) = source.read([source.num_frames // 2])
    source.close()
    return image


@pytest.mark.parametrize(
    ("scale", "angle", "shift"), [(1.0, 0.0, (-60, 10)), (0.6, 0.0, (20, 5)), (0.8, 20.0, (0, 0))]
)
def test_landmarks_move_along(model, frame, scale, angle, shift):
    """To within 2 % of the face's width in the mean."""
    before = model.landmarks(frame)
    height, width = frame.shape[:2]
    turn = np.deg2rad(angle)
    matrix = scale * np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    centre = np.array([width, height]) / 2
    back = np.linalg.inv(matrix)
    origin = centre - back @ (centre + shift)
    affine = (*back[0], origin[0], *back[1], origin[1])
    moved = Image.fromarray(frame).transform(
        (width, height), Image.Transform.AFFINE, affine, Image.Resampling.BICUBIC
    )
    after = model.landmarks(np.asarray(moved))
    assert before is not None
    assert after is not None
    expected = (before - centre) @ matrix.T + centre + shift
    error = np.hypot(*(after - expected).T).mean()
    assert error < 0.02 * np.ptp(expected[:, 0])


def test_there_is_no_face_in_noise(model):
    noise = np.random.default_rng().integers(0, 256, (90, 160, 3)).astype(np.uint8)
    assert model.landmarks(noise) is None


def test_a_rectangle_cuts_what_it_maps():
    """A bright square at a random place is found there again, through the turned crop."""
    rng = np.random.default_rng()
    x, y = rng.integers(60, 100, 2)
    frame = np.zeros((160, 160, 3), np.uint8)
    frame[y - 3 : y + 3, x - 3 : x + 3] = 255
    square = Rectangle(80.0, 80.0, 90.0, float(rng.uniform(-np.pi, np.pi)))
    rows, columns = np.nonzero(square.cut(frame, 180)[..., 0] > 127)
    centre = (np.array([[columns.mean(), rows.mean()]]) + 0.5) / 180
    assert square.to_frame(centre)[0] == pytest.approx((x, y), abs=0.6)


def test_overlapping_boxes_are_one_face():
    eyes = np.array([[1.0, 2.0], [5.0, 2.0]])
    one = Face(np.array([10.0, 10, 8, 8]), eyes, 0.9)
    same = Face(np.array([11.0, 10, 8, 8]), eyes + 1, 0.6)
    other = Face(np.array([40.0, 10, 8, 8]), eyes, 0.7)
    first, second = merged([same, other, one])
    assert first.box == pytest.approx([10.4, 10, 8, 8])
    assert first.eyes == pytest.approx(eyes + 0.4)
    assert (first.score, second.score) == (0.9, 0.7)
    assert rectangle(one).angle == 0


def test_a_rectangle_goes_both_ways():
    rng = np.random.default_rng()
    square = Rectangle(*rng.uniform(20, 90, 3), float(rng.uniform(-np.pi, np.pi)))
    points = rng.uniform(0, 100, (20, 2))
    assert square.to_frame(square.from_frame(points)) == pytest.approx(points)


def test_anchors_cover_the_image():
    places = landmarks.anchors(256)
    assert places.shape == (896, 2)
    assert places.mean(0) == pytest.approx([0.5, 0.5])
    assert places[2] == pytest.approx([24 / 256, 8 / 256])


def test_a_missing_wheel_is_one_line(monkeypatch):
    monkeypatch.setattr(face_models, "WHEEL", "no-such-wheel-of-faces")
    with pytest.raises(InputError, match=r"the face models are not installed: pip install"):
        face_models.model_file(face_models.MESH)
