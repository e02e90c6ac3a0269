"""The loss of clips and the texts that describe them."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def contrastive_loss(clips: Tensor, texts: Tensor, same: Tensor, scale: float) -> Tensor:
    """CLIP's symmetric loss (arXiv 2103.00020, figure 3), summed over the clips.

    The mean of two cross entropies: of a clip's text among all texts, and of a text's clip among
    all clips. Where texts are the same, each of their clips is as right as the other.

    Args:
        clips: (B, E), of length 1.
        texts: (B, E), of length 1, of each clip.
        same: (B, B) bool, which clips have the same text.
        scale: of the cosines.
    """
    with torch.autocast(clips.device.type, enabled=False):
        logits = scale * clips @ texts.T
        targets = same.to(logits.dtype) / same.sum(1, keepdim=True)
        both = (F.cross_entropy(side, targets, reduction="sum") for side in (logits, logits.T))
        return sum(both, logits.new_zeros(())) / 2
