"""Regions of a face from FaceMesh's landmarks: polygons over its contours."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

REGIONS = ("background", "hair", "face", "brows", "eyes", "nose", "lips", "mouth")
# Okabe and Ito's colours, which all eyes tell apart, on black.
COLOURS = np.array(
    [
        (0, 0, 0),
        (119, 119, 119),
        (0, 114, 178),
        (230, 159, 0),
        (240, 228, 66),
        (0, 158, 115),
        (213, 94, 0),
        (204, 121, 167),
    ],
    np.uint8,
)
_OVAL = (
    10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377, 152,
    148, 176, 149, 150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109,
)  # fmt: skip
_NOSE = (168, 193, 122, 174, 198, 129, 98, 97, 2, 326, 327, 358, 420, 399, 351, 417)
_BROWS = (
    (46, 53, 52, 65, 55, 107, 66, 105, 63, 70),
    (276, 283, 282, 295, 285, 336, 296, 334, 293, 300),
)
_EYES = (
    (33, 7, 163, 144, 145, 153, 154, 155, 133, 173, 157, 158, 159, 160, 161, 246),
    (263, 249, 390, 373, 374, 380, 381, 382, 362, 398, 384, 385, 386, 387, 388, 466),
)
_LIPS = (61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 409, 270, 269, 267, 0, 37, 39, 40, 185)
_MOUTH = (
    78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308, 415, 310, 311, 312, 13, 82, 81, 80, 191,
)  # fmt: skip
# From back to front: a region, and the landmarks around it.
_POLYGONS = (
    ("face", _OVAL),
    *(("brows", brow) for brow in _BROWS),
    *(("eyes", eye) for eye in _EYES),
    ("nose", _NOSE),
    ("lips", _LIPS),
    ("mouth", _MOUTH),
)


def region_map(points: NDArray[np.float64], height: int, width: int) -> NDArray[np.uint8]:
    """The regions of a frame, uint8 (height, width): each value indexes ``REGIONS``.

    Args:
        points: (468, 2) in pixels.
        height: of the frame.
        width: of the frame.
    """
    image = Image.new("L", (width, height))
    pen = ImageDraw.Draw(image)
    for name, indices in _POLYGONS:
        pen.polygon(points[list(indices)].ravel().tolist(), fill=REGIONS.index(name))
    return np.asarray(image)


def region_image(regions: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A map (H, W) of ``REGIONS`` in ``COLOURS``: uint8 RGB (H, W, 3)."""
    image: NDArray[np.uint8] = COLOURS[regions]
    return image
