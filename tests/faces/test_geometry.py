"""Boxes and turned squares."""

from __future__ import annotations

import numpy as np
import pytest

from peclip_fast.faces.geometry import Face, Rectangle, merged, roll


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
    assert roll(one.eyes) == 0


def test_a_rectangle_goes_both_ways():
    rng = np.random.default_rng()
    square = Rectangle(*rng.uniform(20, 90, 3), float(rng.uniform(-np.pi, np.pi)))
    points = rng.uniform(0, 100, (20, 2))
    assert square.to_frame(square.from_frame(points)) == pytest.approx(points)
