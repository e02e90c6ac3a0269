"""The temporal adapter in plain PyTorch."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from peclip_fast.ops.temporal_adapter.weights import EPSILON, TemporalWeights


def loop(d: Tensor, weights: TemporalWeights) -> Tensor:
    """d (B, T, L, h) -> the GRU's states, frame by frame, as the equations of nn.GRU read."""
    w, states = weights, []
    hidden = d.new_zeros(d[:, 0].shape)
    for gates in F.linear(d, w.weight_ih, w.bias_ih).unbind(1):
        r_i, z_i, n_i = gates.chunk(3, -1)
        r_h, z_h, n_h = F.linear(hidden, w.weight_hh, w.bias_hh).chunk(3, -1)
        update = torch.sigmoid(z_i + z_h)
        candidate = torch.tanh(n_i + torch.sigmoid(r_i + r_h) * n_h)
        hidden = (1 - update) * candidate + update * hidden
        states.append(hidden)
    return torch.stack(states, 1)


def temporal_adapter_reference(
    x: Tensor,
    residual: Tensor | None,
    weights: TemporalWeights,
    *,
    scaling: str = "after_up",
    recurrence: Callable[[Tensor, TemporalWeights], Tensor] = loop,
) -> Tensor:
    """As the equations read (PE-CLIP, equations 7 to 12)."""
    w = weights
    z = F.layer_norm(x, x.shape[-1:], w.norm_weight, w.norm_bias, EPSILON)
    d = F.linear(z, w.down_weight, w.down_bias)
    if scaling != "none":
        assert w.scale_weight is not None
        s = F.relu(F.linear(z, w.scale_weight, w.scale_bias))
    if scaling == "input":
        d = s * d
    g = recurrence(d, w)
    if scaling == "recurrence":
        g = s * g
    y = F.linear(F.gelu(g), w.up_weight, w.up_bias)
    if scaling == "after_up":
        y = s * y
    return x + y if residual is None else residual + x + y
