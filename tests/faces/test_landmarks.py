"""Landmarks move along with the face."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from peclip_fast.data.decoding.clip_source import open_clip_source
from peclip_fast.faces.landmarks import LandmarkModel


@pytest.fixture(scope="module")
def model() -> LandmarkModel:
    return LandmarkModel()


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
