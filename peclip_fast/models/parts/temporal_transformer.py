"""What FineCLIPER's video branch makes of a clip's frames."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from peclip_fast.errors import InputError

MOST_FRAMES = 64
HEAD_WIDTH = 64


class TemporalTransformer(nn.Module):
    """Pre-norm transformer layers over the frames' features, and the mean of what comes out.

    Positions and what each layer adds start at zero, so that training starts from the mean of
    CLIP's features.

    Args:
        width: E.
        layers: how many.
    """

    def __init__(self, width: int, layers: int) -> None:
        super().__init__()
        self.position = nn.Parameter(torch.zeros(MOST_FRAMES, width))
        self.layers = nn.ModuleList(_layer(width) for _ in range(layers))

    def forward(self, features: Tensor) -> Tensor:
        """Frames' features (B, T, E) -> the clips' (B, E)."""
        length = features.shape[1]
        if length > len(self.position):
            raise InputError(f"frames: {length} of a clip, expected at most {len(self.position)}")
        x = features + self.position[:length]
        for layer in self.layers:
            x = layer(x)
        return x.mean(1)


def _layer(width: int) -> nn.Module:
    """One whose additions are zero."""
    heads = max(1, width // HEAD_WIDTH)
    layer = nn.TransformerEncoderLayer(
        width, heads, 4 * width, 0.0, "gelu", batch_first=True, norm_first=True
    )
    for last in (layer.self_attn.out_proj, layer.linear2):
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
    return layer
