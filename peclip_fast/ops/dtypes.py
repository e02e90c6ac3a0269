"""The dtypes of kernels, of products and of sums."""

from __future__ import annotations

import torch

FLOATS = (torch.float32, torch.bfloat16, torch.float16)
TYPES = {dtype: number for number, dtype in enumerate(FLOATS)}  # enum Type in csrc/


def product_dtype(x: torch.Tensor) -> torch.dtype:
    """What products of x are computed in: autocast's dtype where it is on, which leaves float64."""
    if torch.is_autocast_enabled(x.device.type) and x.dtype != torch.float64:
        return torch.get_autocast_dtype(x.device.type)
    return x.dtype


def promoted(first: torch.Tensor, *others: torch.Tensor | None) -> torch.dtype:
    """The dtype of a sum of these tensors."""
    dtype = first.dtype
    for t in others:
        dtype = dtype if t is None else torch.promote_types(dtype, t.dtype)
    return dtype
