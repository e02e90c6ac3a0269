"""The bottleneck adapter in plain PyTorch."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

OP = "bottleneck_adapter"


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
    """As the equation reads (PE-CLIP, equations 3 to 6)."""
    y = F.linear(F.gelu(F.linear(x, down_weight, down_bias)), up_weight, up_bias)
    if scale != 1.0:
        y = scale * y
    if skip:
        y = x + y
    return y if residual is None else residual + y
