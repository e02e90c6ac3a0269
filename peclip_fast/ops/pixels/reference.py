"""What a vision encoder reads of a batch's frames, in plain PyTorch."""

from __future__ import annotations

import torch
from torch import Tensor

OP = "pixels"


def pixels_reference(
    frames: Tensor, mean: Tensor | None = None, std: Tensor | None = None,
    partners: Tensor | None = None, keep: Tensor | None = None, share: float = 1.0,
    dtype: torch.dtype = torch.float32,
) -> Tensor:  # fmt: skip
    """Plain PyTorch. It mixes in float32 at the least and normalizes in ``dtype``."""
    x = frames
    if x.dtype == torch.uint8:  # of uint8 in one pass, to float32
        x = x / 255 if dtype != torch.float64 else x.to(dtype) / 255
    if partners is not None:
        x = mixed(x, partners, keep, share)
    x = x.to(dtype)
    if mean is not None and std is not None:
        x = (x - mean.to(dtype)) / std.to(dtype)
    return x.to(result_dtype(frames, dtype))


def mixed(x: Tensor, partners: Tensor, keep: Tensor | None, share: float) -> Tensor:
    """Each clip of x (B, ..., H, W) with its partner: by a mask of pixels, or by its share."""
    if keep is not None:
        return torch.where(keep, x, x[partners])
    return torch.lerp(x[partners], x, share)


def result_dtype(frames: Tensor, dtype: torch.dtype) -> torch.dtype:
    """On a GPU autocast's where it is on. On a CPU `dtype`: there the patches may be multiplied in
    float32 even under autocast."""
    kind = frames.device.type
    if kind in ("cpu", "meta") or dtype == torch.float64 or not torch.is_autocast_enabled(kind):
        return dtype
    return torch.get_autocast_dtype(kind)
