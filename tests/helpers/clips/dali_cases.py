"""How near DALI's frames are to PyAV's, and on which devices that is looked at.

``TOLERANCE`` is the largest and the mean difference of values out of 255 in the same frame of a
video. Measured on the CPU: 7 and 1.24 on real video of 640x360 pixels in VP9, since FFmpeg's fast
conversion from YUV, which PyAV uses, comes out 1.2 too dark on average, and DALI's 0.0. Where that
one doesn't apply (odd heights, 4:4:4) and for image files, the values are the same, bit for bit. On
a GPU nothing has been measured; what stands there is a guess, to be replaced.
"""

from __future__ import annotations

import pytest
import torch

pytest.importorskip("nvidia.dali", reason="NVIDIA DALI is not installed")

TOLERANCE = {"cpu": (8, 1.5), "cuda": (32, 4.0)}
EXACT = {"cpu": (0, 0.0), "cuda": (32, 2.0)}
STEPS = (3, 0.7)  # what rounding after each step of the augmentation adds, at most and in the mean

gpu = pytest.param(
    "cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA GPU")
)
devices = pytest.mark.parametrize("device", ["cpu", gpu])
on_gpu = pytest.mark.parametrize("device", [gpu])


def assert_same(a: torch.Tensor, b: torch.Tensor, *tolerances: tuple[float, float]) -> None:
    assert a.shape == b.shape
    assert a.stride() == b.stride()
    difference = (a.int() - b.int()).abs()
    assert difference.max() <= sum(most for most, _ in tolerances)
    assert difference.float().mean() <= sum(mean for _, mean in tolerances)
