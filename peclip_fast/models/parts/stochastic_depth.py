"""Branches that training leaves out of some clips (stochastic depth, arXiv 1603.09382)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def in_some_clips(
    x: Tensor, add: Callable[[Tensor, float], Tensor], rate: float, clips: int
) -> Tensor:
    """x with a branch, but in a share of the clips as it is.

    Args:
        x: (N, ...), where clip after clip has N / ``clips`` rows.
        add: (x, factor) -> x + factor * branch.
        rate: the share of clips without; where there is a branch its factor is 1 / (1 - rate), so
            that the mean stays.
        clips: B.
    """
    if rate == 0:
        return add(x, 1.0)
    kept = torch.rand(clips, device=x.device) >= rate
    rows = kept.repeat_interleave(len(x) // clips, output_size=len(x))
    return torch.where(rows.view(-1, *[1] * (x.ndim - 1)), add(x, 1 / (1 - rate)), x)
