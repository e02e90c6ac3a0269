"""The cropper: what it cuts, at edges and turned; profiles as files; what differs."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from peclip_fast.errors import InputError
from peclip_fast.faces.crop import CropProfile, cut, outside, read_profile, write_profile
from peclip_fast.faces.finder import FacePlace
from peclip_fast.faces.geometry import Rectangle


def smooth_frame(height: int, width: int) -> np.ndarray:
    small = np.random.default_rng(3).integers(0, 256, (6, 8, 3)).astype(np.uint8)
    return np.asarray(Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC))


def test_a_whole_crop_is_the_plain_resize():
    frame = smooth_frame(120, 120)
    found = cut(frame, Rectangle(60, 60, 120, 0.0), 48)
    expected = Image.fromarray(frame).resize((48, 48), Image.Resampling.BILINEAR)
    assert np.array_equal(found, np.asarray(expected))


@pytest.mark.parametrize("seed", range(12))
def test_what_lies_outside_is_black_and_the_rest_is_in_its_place(seed):
    """As if the frame had been padded by hand; wherever the square is, also off the frame."""
    rng = np.random.default_rng(seed)
    height, width = rng.integers(30, 200, 2)
    frame = smooth_frame(int(height), int(width))
    x, y = rng.uniform(-60, 260, 2)
    side = float(rng.uniform(10, 150))
    padded = np.pad(frame, ((400, 400), (400, 400), (0, 0)))
    found = cut(frame, Rectangle(float(x), float(y), side, 0.0), 32)
    expected = cut(padded, Rectangle(float(x) + 400, float(y) + 400, side, 0.0), 32)
    assert np.abs(found.astype(int) - expected).max() <= 1
    share = outside(Rectangle(float(x), float(y), side, 0.0), int(height), int(width))
    white = cut(np.full_like(frame, 255), Rectangle(float(x), float(y), side, 0.0), 64)
    assert share == pytest.approx(1 - white.mean() / 255, abs=0.03)


def test_an_aligned_profile_levels_the_eyes():
    frame = np.zeros((200, 200, 3), np.uint8)
    angle = 0.4
    eyes = np.array([100, 100]) + 20 * np.array(
        [[-np.cos(angle), -np.sin(angle)], [np.cos(angle), np.sin(angle)]]
    )
    for x, y in eyes.round().astype(int):
        frame[y - 3 : y + 4, x - 3 : x + 4] = 255
    place = FacePlace(100, 100, 60, angle)
    found = cut(frame, CropProfile(1.5, 0, 0, aligned=True).rectangle(place), 90)[..., 0]
    left, right = np.argwhere(found[:, :45] > 128), np.argwhere(found[:, 45:] > 128)
    assert abs(left[:, 0].mean() - right[:, 0].mean()) < 1
    tilted = cut(frame, CropProfile(1.5, 0, 0).rectangle(place), 90)[..., 0]
    left, right = np.argwhere(tilted[:, :45] > 128), np.argwhere(tilted[:, 45:] > 128)
    assert right[:, 0].mean() - left[:, 0].mean() > 10


def test_a_crop_moves_along_with_the_face():
    rng = np.random.default_rng()
    profile = CropProfile(float(rng.uniform(1, 2)), *rng.uniform(-0.3, 0.3, 2))
    one = profile.rectangle(FacePlace(50, 60, 30, 0.3))
    other = profile.rectangle(FacePlace(150, 160, 60, 0.3))
    assert one.side * 2 == pytest.approx(other.side)
    assert (one.x - 50) * 2 == pytest.approx(other.x - 150)
    assert (one.y - 60) * 2 == pytest.approx(other.y - 160)


def test_profiles_are_written_and_read(tmp_path):
    profile = CropProfile(1.53, 0.01, -0.1, True, 2.5, 0.97, "measured")
    write_profile(tmp_path / "crop.json", profile)
    assert read_profile(tmp_path / "crop.json") == profile
    (tmp_path / "crop.json").write_text('{"scale": "wide"}')
    with pytest.raises(InputError, match=r"crop\.json"):
        read_profile(tmp_path / "crop.json")
    (tmp_path / "crop.json").write_text('{"scale": -1, "x": 0, "y": 0}')
    with pytest.raises(InputError, match="crop profile: expected a scale above 0"):
        read_profile(tmp_path / "crop.json")


@pytest.mark.parametrize(
    ("profile", "told"),
    [
        (CropProfile(1.5, 0, -0.1), None),
        (CropProfile(1.9, 0.1, -0.2), None),
        (CropProfile(4.5, 0, 0), "the face is 3.0 times as small"),
        (CropProfile(0.75, 0, -0.1), "the face is 2.0 times as large"),
        (CropProfile(1.5, 0.75, -0.1), "the face is off its place by 50% of the picture's side"),
    ],
)
def test_what_differs_is_said(profile, told):
    assert profile.differs(CropProfile(1.5, 0, -0.1)) == told
