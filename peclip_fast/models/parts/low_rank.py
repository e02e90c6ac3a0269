"""Low-rank changes of a frozen product (LoRA, arXiv 2106.09685)."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class LowRank(nn.Module):
    """What is added to the queries, keys and values of one block: ``scale * B A dropout(y)`` each.

    B starts at zero, so that training starts from CLIP.

    Args:
        width: D.
        rank: r; A is (r, D) and B (D, r) for each of the three.
        scale: of what is added.
        dropout: share of y that training sets to zero, drawn for each of the three.
    """

    def __init__(self, width: int, rank: int, scale: float, dropout: float) -> None:
        super().__init__()
        self.down = nn.Parameter(torch.empty(3, rank, width))
        self.up = nn.Parameter(torch.zeros(3, width, rank))
        bound = 1 / math.sqrt(width)  # PyTorch's own for a product that reads this width
        nn.init.uniform_(self.down, -bound, bound)
        self.scale, self.dropout = scale, dropout

    def forward(self, y: Tensor) -> Tensor:
        """What the attention reads, (..., D) -> (..., 3D)."""
        added = []
        for down, up in zip(self.down, self.up, strict=True):
            read = F.dropout(y, self.dropout, self.training)
            added.append(F.linear(self.scale * F.linear(read, down), up))
        return torch.cat(added, -1)
