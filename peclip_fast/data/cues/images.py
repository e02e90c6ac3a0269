"""Cues as images of the model's size, moved like the frames that they belong to."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from peclip_fast.data.cues.regions import COLOURS, CONTOURS, REGIONS, region_map
from peclip_fast.data.cues.store import Cues
from peclip_fast.data.transforms.augment import ClipTransform, move_maps, move_points

_FINE = 2  # lines are drawn this much larger and made smaller again, which smooths them
_LINE = 1 / 112  # width of a contour, in sides of the image
_GREY = (119, 119, 119)  # of landmarks, on which no contour may lie

Images = NDArray[np.uint8]


def cue_images(
    name: str, cues: Cues, size: tuple[int, int], transform: ClipTransform, image_size: int
) -> torch.Tensor:
    """What a branch sees in place of the frames.

    Args:
        name: ``parsing``, the regions in their colours, or ``landmarks``, the contours; both black
            where there is no face.
        cues: of the frames, in any size of theirs.
        size: height and width of the frames as they were decoded.
        transform: what was done to them; their colours stay.
        image_size: side of the images.

    Returns:
        uint8 (T, 3, image_size, image_size), with the colours innermost in memory.
    """
    images = IMAGES[name](cues, size, transform, image_size)
    return torch.from_numpy(images).permute(0, 3, 1, 2)


def _landmarks(
    cues: Cues, size: tuple[int, int], transform: ClipTransform, image_size: int
) -> Images:
    fine = image_size * _FINE
    contours = CONTOURS[cues.points.shape[1]]
    width = max(_FINE, round(fine * _LINE))
    images = []
    for points in _moved(cues, size, transform, fine):
        image = Image.new("RGB", (fine, fine))
        if not np.isnan(points).any():
            pen = ImageDraw.Draw(image)
            pen.point(points.ravel().tolist(), fill=_GREY)
            for region, line in contours:
                colour = tuple(COLOURS[REGIONS.index(region)].tolist())
                pen.line(points[list(line)].ravel().tolist(), colour, width)
        images.append(np.asarray(image.reduce(_FINE)))
    return np.stack(images)


def _parsing(
    cues: Cues, size: tuple[int, int], transform: ClipTransform, image_size: int
) -> Images:
    if cues.regions is not None:
        maps = move_maps(cues.regions, transform, *size, image_size)
    else:
        maps = np.stack(
            [
                region_map(points, image_size, image_size)
                for points in _moved(cues, size, transform, image_size)
            ]
        )
    images: Images = COLOURS[maps]
    return images


IMAGES: Mapping[str, Callable[[Cues, tuple[int, int], ClipTransform, int], Images]] = {
    "parsing": _parsing,
    "landmarks": _landmarks,
}


def _moved(
    cues: Cues, size: tuple[int, int], transform: ClipTransform, image_size: int
) -> NDArray[np.float64]:
    """The points in pixels of the images."""
    height, width = size
    scale = np.array([width / cues.size[1], height / cues.size[0]])
    return move_points(cues.points * scale, transform, height, width, image_size)
