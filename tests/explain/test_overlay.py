"""Heat on frames."""

from __future__ import annotations

import numpy as np
import torch

from peclip_fast.explain.overlay import SIDE, overlay, pictures


def test_the_brightest_place_is_where_the_heat_is():
    shown = np.full((2, SIDE, SIDE, 3), 120, np.uint8)
    heat = torch.zeros(2, 4, 4)
    heat[0, 1, 2], heat[1, 1, 2] = 1, 0.3
    found = overlay(shown, heat)
    assert found.shape == shown.shape
    light = found.sum(-1)
    row, column = np.unravel_index(light[0].argmax(), light[0].shape)
    assert row // (SIDE // 4) == 1
    assert column // (SIDE // 4) == 2
    # One scale for all frames: what is less in the second is darker there.
    assert light[1].max() < light[0].max()
    assert light[1].argmax() != 0


def test_heat_that_is_the_same_everywhere():
    shown = np.full((1, SIDE, SIDE, 3), 120, np.uint8)
    found = overlay(shown, torch.full((1, 2, 2), 0.25))
    assert len(np.unique(found.reshape(-1, 3), axis=0)) == 1


def test_pictures_keep_their_colours():
    frames = torch.zeros(1, 3, 8, 8, dtype=torch.uint8)
    frames[0, 0] = 200
    assert pictures(frames).shape == (1, SIDE, SIDE, 3)
    assert (pictures(frames) == [200, 0, 0]).all()
