"""Action units move the landmarks that they should, in the direction that they should."""

from __future__ import annotations

import numpy as np
import pytest

from peclip_fast.data.cues.regions import REGIONS
from peclip_fast.demo.draw import View, draw_face, draw_regions, landmarks_in_pixels
from peclip_fast.demo.face import shape_face
from peclip_fast.demo.identity import Identity
from peclip_fast.demo.units import ACTION_UNITS, EXPRESSIONS

INNER_BROWS, OUTER_BROWS = [21, 22], [17, 26]
UPPER_LIDS, LOWER_LIDS = [37, 38, 43, 44], [40, 41, 46, 47]
CORNERS, LOWER_LIP, NOSE_BASE, CHIN = [48, 54], [57], [31, 32, 33, 34, 35], [8]
UP, DOWN = -1, 1


@pytest.mark.parametrize("number", range(5))
@pytest.mark.parametrize(
    ("unit", "landmarks", "direction"),
    [
        (1, INNER_BROWS, UP),
        (2, OUTER_BROWS, UP),
        (4, INNER_BROWS, DOWN),
        (5, UPPER_LIDS, UP),
        (6, LOWER_LIDS, UP),
        (7, LOWER_LIDS, UP),
        (9, NOSE_BASE, UP),
        (12, CORNERS, UP),
        (15, CORNERS, DOWN),
        (16, LOWER_LIP, DOWN),
        (26, LOWER_LIP, DOWN),
        (26, CHIN, DOWN),
    ],
)
def test_units_move_landmarks_up_and_down(number, unit, landmarks, direction):
    who = Identity.numbered(number)
    rest, moved = shape_face(who, {}).landmarks, shape_face(who, {unit: 1.0}).landmarks
    assert ((moved - rest)[landmarks, 1] * direction > 0.01).all()


@pytest.mark.parametrize(("unit", "wider"), [(12, True), (20, True), (23, False)])
def test_units_change_the_width_of_the_mouth(unit, wider):
    who = Identity.numbered(3)

    def width(units):
        left, right = shape_face(who, units).landmarks[CORNERS, 0]
        return right - left

    assert (width({unit: 1.0}) > width({})) == wider


def test_every_unit_shows():
    who = Identity.numbered(1)
    rest = draw_face(shape_face(who, {}), who).astype(int)
    for unit in ACTION_UNITS:
        shown = draw_face(shape_face(who, {unit: 1.0}), who).astype(int)
        assert (np.abs(shown - rest).max(-1) > 24).sum() > 15, unit


def test_unknown_units_are_a_bug():
    with pytest.raises(KeyError, match="no action unit 3"):
        shape_face(Identity.numbered(0), {3: 1.0})


def test_landmarks_lie_in_their_regions():
    who = Identity.numbered(2)
    shape, view = shape_face(who, {26: 0.8}), View(yaw=0.2, roll=0.05)
    regions = draw_regions(shape, view, 192)
    points = np.rint(landmarks_in_pixels(shape, view, 192)).astype(int)
    assert shape.landmarks.shape == (68, 3)
    assert set(np.unique(regions)) == set(range(len(REGIONS)))
    inside = regions[points[:, 1], points[:, 0]]
    assert (inside[17:27] == REGIONS.index("brows")).mean() > 0.7
    assert (inside[48:60] != REGIONS.index("background")).all()


def test_the_seven_expressions_are_those_of_table_1():
    from peclip_fast.config.texts import PUBLISHED_ACTION_UNITS

    for name, units in EXPRESSIONS.items():
        if units:
            text = ", ".join(ACTION_UNITS[unit] for unit in units) + "."
            assert text == PUBLISHED_ACTION_UNITS[name]
