"""The regions of a face: their names, colours, outlines in a set of landmarks, and maps."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from peclip_fast.errors import InputError

# Names of the values in a map; mouth is the opening between the lips.
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
POINTS = 468  # of FaceMesh
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
_BRIDGE, _NOSTRILS = (168, 6, 197, 195, 5, 4), (98, 97, 2, 326, 327)
# From back to front: a region, and the landmarks around it.
_POLYGONS = (
    ("face", _OVAL),
    *(("brows", brow) for brow in _BROWS),
    *(("eyes", eye) for eye in _EYES),
    ("nose", _NOSE),
    ("lips", _LIPS),
    ("mouth", _MOUTH),
)


def _closed(points: Sequence[int]) -> tuple[int, ...]:
    return (*points, points[0])


# By the number of landmarks, FaceMesh's or the usual 68: a region, and a line along it.
CONTOURS: dict[int, tuple[tuple[str, tuple[int, ...]], ...]] = {
    POINTS: (
        *((name, _closed(points)) for name, points in _POLYGONS if name != "nose"),
        ("nose", _BRIDGE),
        ("nose", _NOSTRILS),
    ),
    68: (
        ("face", tuple(range(17))),
        ("brows", tuple(range(17, 22))),
        ("brows", tuple(range(22, 27))),
        ("nose", tuple(range(27, 31))),
        ("nose", tuple(range(31, 36))),
        ("eyes", _closed(range(36, 42))),
        ("eyes", _closed(range(42, 48))),
        ("lips", _closed(range(48, 60))),
        ("mouth", _closed(range(60, 68))),
    ),
}


def region_map(points: NDArray[np.float64], height: int, width: int) -> NDArray[np.uint8]:
    """The regions of a frame, uint8 (height, width): each value indexes ``REGIONS``.

    Args:
        points: (468, 2), FaceMesh's, in pixels; NaN where there is no face.
        height: of the frame.
        width: of the frame.

    Raises:
        InputError: the landmarks are other ones, which have no outlines here.
    """
    if len(points) != POINTS:
        raise InputError(
            f"regions: {len(points)} landmarks; expected the {POINTS} of FaceMesh, or stored maps"
        )
    image = Image.new("L", (width, height))
    if np.isnan(points).any():
        return np.asarray(image)
    pen = ImageDraw.Draw(image)
    for name, indices in _POLYGONS:
        pen.polygon(points[list(indices)].ravel().tolist(), fill=REGIONS.index(name))
    return np.asarray(image)
