"""What somebody looks like, as far as it takes to know them again after they were hidden.

A histogram of the colours of hair and face: it doesn't change with the expression, and two people
in one scene seldom have the same. It is no recognition, and knows nobody in another light.
"""

from __future__ import annotations

import numpy as np
from PIL import Image

from peclip_fast.faces.geometry import Array, Face, Frame

_SIDE = 24  # pixels of the patch that is counted
_BINS = 8  # of each colour
_WIDER, _HIGHER = 1.3, 0.2  # of the patch over the box; how far it lies above, for the hair

_rows, _columns = np.mgrid[0:_SIDE, 0:_SIDE] / (_SIDE - 1) * 2 - 1
_ELLIPSE = _rows**2 + _columns**2 <= 1  # corners show what is behind
_HALVES = [_ELLIPSE & (_rows < 0), _ELLIPSE & (_rows >= 0)]


def appearance(frame: Frame, face: Face) -> Array:
    """The look of a face in a frame uint8 RGB (H, W, 3): a vector of length 1.

    It holds two histograms, of the upper and the lower half, which are weighed alike.
    """
    x, y, width, height = face.box.tolist()
    y -= _HIGHER * height
    left, top = x - _WIDER * width / 2, y - _WIDER * height / 2
    affine = (_WIDER * width / _SIDE, 0.0, left, 0.0, _WIDER * height / _SIDE, top)
    patch = Image.fromarray(frame).transform((_SIDE, _SIDE), Image.Transform.AFFINE, affine)
    bins = (np.asarray(patch) // (256 // _BINS)).astype(np.int64) @ (_BINS**2, _BINS, 1)
    counts = [np.bincount(bins[half], minlength=_BINS**3) for half in _HALVES]
    return unit(np.concatenate([count / count.sum() for count in counts]) ** 0.5)


def unit(look: Array) -> Array:
    """The same direction, of length 1."""
    length: Array = look / np.linalg.norm(look)
    return length


def likeness(looks: Array, others: Array) -> Array:
    """(n, m) from 0, no colour in common, to 1; of looks (n, d) and (m, d)."""
    alike: Array = looks @ others.T
    return alike
