"""A linear layer from a clip's feature to its logits."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn


class LinearHead(nn.Linear):
    """``W dropout(x) + b``; W starts at N(0, std), b at zero.

    Args:
        width: of the features.
        classes: C.
        std: of the first weights.
        dropout: share of the features that training sets to zero.
    """

    def __init__(self, width: int, classes: int, std: float, dropout: float) -> None:
        super().__init__(width, classes)
        nn.init.normal_(self.weight, std=std)
        nn.init.zeros_(self.bias)
        self.dropout = dropout

    def compare(self, features: Tensor, weight: Tensor) -> Tensor:
        """Logits (B, C) of features (B, width) by ``weight``, which is the head's own."""
        features = F.dropout(features, self.dropout, self.training)
        return F.linear(features, weight.to(features), self.bias.to(features))
