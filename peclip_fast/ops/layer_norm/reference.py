"""LayerNorm of a residual stream in plain PyTorch."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from peclip_fast.ops.dtypes import product_dtype

OP = "layer_norm"


def layer_norm_reference(
    x: Tensor, weight: Tensor, bias: Tensor, residual: Tensor | None = None,
    learned: Tensor | None = None, start: int = 0, eps: float = 1e-5,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Plain PyTorch."""
    if residual is not None:
        x = x + residual
    if learned is not None:
        x = put(x, learned, start)
    read = x
    if weight.dtype != x.dtype and not torch.is_autocast_enabled(x.device.type):
        dtype = torch.promote_types(x.dtype, weight.dtype)
        read, weight, bias = x.to(dtype), weight.to(dtype), bias.to(dtype)
    return x, F.layer_norm(read, x.shape[-1:], weight, bias, eps).to(product_dtype(x))


def put(x: Tensor, learned: Tensor, start: int) -> Tensor:
    """x (N, L, D) with ``learned`` (P, D) or (N, P, D) in the place of its tokens from start on."""
    end = start + learned.shape[-2]
    learned = learned.to(x.dtype).expand(x.shape[0], -1, -1)
    parts = x[:, :start], learned, x[:, end:]
    return torch.cat([part for part in parts if part.shape[1]], 1)  # none has no gradient either
