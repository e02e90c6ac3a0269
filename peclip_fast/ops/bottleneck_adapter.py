"""The bottleneck adapter: ``residual + skip * x + scale * up(GELU(down(x)))``."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def bottleneck_adapter_reference(
    x: Tensor,
    down_weight: Tensor,
    down_bias: Tensor,
    up_weight: Tensor,
    up_bias: Tensor,
    residual: Tensor | None = None,
    *,
    skip: bool = True,
    scale: float = 1.0,
) -> Tensor:
    """Plain PyTorch, as the equation reads (paper, equations 3 to 6)."""
    y = scale * F.linear(F.gelu(F.linear(x, down_weight, down_bias)), up_weight, up_bias)
    if skip:
        y = x + y
    return y if residual is None else residual + y


def bottleneck_adapter(
    x: Tensor,
    down_weight: Tensor,
    down_bias: Tensor,
    up_weight: Tensor,
    up_bias: Tensor,
    residual: Tensor | None = None,
    *,
    skip: bool = True,
    scale: float = 1.0,
    backend: str = "auto",
) -> Tensor:
    """x (..., D) -> residual + skip * x + scale * up(GELU(down(x)))."""
    return bottleneck_adapter_reference(
        x, down_weight, down_bias, up_weight, up_bias, residual, skip=skip, scale=scale
    )
