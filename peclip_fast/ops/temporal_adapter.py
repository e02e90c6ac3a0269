"""The Temporal Dynamic Adapter (TDA): a GRU over the frames of a clip, scaled frame by frame."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

SCALINGS = ("none", "input", "recurrence", "after_up")


def temporal_adapter_reference(
    x: Tensor,
    residual: Tensor | None,
    norm_weight: Tensor,
    norm_bias: Tensor,
    scale_weight: Tensor | None,
    scale_bias: Tensor | None,
    down_weight: Tensor,
    down_bias: Tensor,
    weight_ih: Tensor,
    weight_hh: Tensor,
    bias_ih: Tensor,
    bias_hh: Tensor,
    up_weight: Tensor,
    up_bias: Tensor,
    *,
    scaling: str = "after_up",
) -> Tensor:
    """Plain PyTorch, as the equations read (paper, equations 7 to 12)."""
    z = F.layer_norm(x, x.shape[-1:], norm_weight, norm_bias)
    d = F.linear(z, down_weight, down_bias)
    s = F.relu(F.linear(z, scale_weight, scale_bias)) if scaling != "none" else None
    if scaling == "input":
        d = s * d
    hidden = d.new_zeros(d[:, 0].shape)
    states = []
    for gates in F.linear(d, weight_ih, bias_ih).unbind(1):
        r_i, z_i, n_i = gates.chunk(3, -1)
        r_h, z_h, n_h = F.linear(hidden, weight_hh, bias_hh).chunk(3, -1)
        update = torch.sigmoid(z_i + z_h)
        candidate = torch.tanh(n_i + torch.sigmoid(r_i + r_h) * n_h)
        hidden = (1 - update) * candidate + update * hidden
        states.append(hidden)
    g = torch.stack(states, 1)
    if scaling == "recurrence":
        g = s * g
    y = F.linear(F.gelu(g), up_weight, up_bias)
    if scaling == "after_up":
        y = s * y
    return x + y if residual is None else residual + x + y


def temporal_adapter(
    x: Tensor,
    residual: Tensor | None,
    norm_weight: Tensor,
    norm_bias: Tensor,
    scale_weight: Tensor | None,
    scale_bias: Tensor | None,
    down_weight: Tensor,
    down_bias: Tensor,
    weight_ih: Tensor,
    weight_hh: Tensor,
    bias_ih: Tensor,
    bias_hh: Tensor,
    up_weight: Tensor,
    up_bias: Tensor,
    *,
    scaling: str = "after_up",
    backend: str = "auto",
) -> Tensor:
    """x, residual (B, T, L, D) -> residual + x + TDA(x); residual None means without it."""
    return temporal_adapter_reference(
        x, residual, norm_weight, norm_bias, scale_weight, scale_bias, down_weight, down_bias,
        weight_ih, weight_hh, bias_ih, bias_hh, up_weight, up_bias, scaling=scaling,
    )  # fmt: skip
