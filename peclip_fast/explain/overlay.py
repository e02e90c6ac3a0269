"""Heat on frames: what is looked at glows, the rest is the frame in grey."""

from __future__ import annotations

import matplotlib
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

SIDE = 192  # of a picture, in pixels
COLOURS = "inferno"  # brighter is more, in grey and to all eyes
BRIGHTEST = 0.99  # the quantile of a view's values that glows most: one patch can't darken the rest
STRENGTH = 0.6  # of the heat, against the frame below it


def pictures(frames: Tensor) -> NDArray[np.uint8]:
    """Frames (T, 3, H, W), uint8 -> (T, SIDE, SIDE, 3)."""
    scaled = F.interpolate(frames.float(), (SIDE, SIDE), mode="bilinear", antialias=True)
    return scaled.round().to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()


def overlay(shown: NDArray[np.uint8], heat: Tensor) -> NDArray[np.uint8]:
    """Pictures (T, SIDE, SIDE, 3) under heat (T, g, g), one scale of colours for all T.

    The colours run from the least value to the BRIGHTEST quantile.
    """
    low = heat.min()
    span = torch.quantile(heat.flatten(), BRIGHTEST) - low
    level = ((heat - low) / span.clamp_min(torch.finfo(heat.dtype).tiny)).clamp(0, 1)
    smooth = F.interpolate(level[:, None], (SIDE, SIDE), mode="bicubic")[:, 0].clamp(0, 1).numpy()
    colours = matplotlib.colormaps[COLOURS](smooth)[..., :3]
    grey = shown @ np.array([0.299, 0.587, 0.114]) / 255  # luma of ITU-R BT.601
    mixed = STRENGTH * colours + (1 - STRENGTH) * grey[..., None]
    return (255 * mixed).round().astype(np.uint8)
