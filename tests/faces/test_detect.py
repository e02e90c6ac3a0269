"""BlazeFace on real and drawn faces, where nothing is, and its anchors."""

from __future__ import annotations

import numpy as np
import pytest

from peclip_fast.data.decoding.clip_source import open_clip_source
from peclip_fast.faces.detect import BlazeFace, anchors


def test_anchors_cover_the_image():
    places = anchors(256)
    assert places.shape == (896, 2)
    assert places.mean(0) == pytest.approx([0.5, 0.5])
    assert places[2] == pytest.approx([24 / 256, 8 / 256])


@pytest.mark.parametrize("name", ["woman_sad_640x360_h264.mp4", "single_face_640x360_h264.mp4"])
def test_a_real_face_is_found_wherever_it_is(assets, name):
    """It moves along with the picture, and stays one face."""
    source = open_clip_source(assets / "videos" / name)
    (frame,) = source.read([source.num_frames // 2])
    source.close()
    detector, rng = BlazeFace(), np.random.default_rng()
    (face,) = detector.detect(frame)
    assert face.score > 0.7
    for _ in range(3):
        left, top, right, below = rng.integers(0, 120, 4)
        moved = np.pad(frame, ((top, below), (left, right), (0, 0)))
        (again,) = detector.detect(moved)
        shift = np.array([left, top])
        size = face.box[2]
        assert again.box[:2] - shift == pytest.approx(face.box[:2], abs=0.1 * size)
        assert again.eyes - shift == pytest.approx(face.eyes, abs=0.1 * size)


def test_there_is_no_face_in_noise():
    noise = np.random.default_rng().integers(0, 256, (90, 160, 3)).astype(np.uint8)
    assert BlazeFace().detect(noise) == []
