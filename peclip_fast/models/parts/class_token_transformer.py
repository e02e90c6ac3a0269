"""What DFER-CLIP and EmoCLIP make of the features of a clip's frames."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from peclip_fast.config.methods.class_token import ClassTokenConfig
from peclip_fast.errors import InputError


class ClassTokenTransformer(nn.Module):
    """Transformer layers over a learned token and the frames' features; the token is the clip's.

    Token and positions start as N(0, 1), as published, so a clip's feature is far from CLIP's
    before training.

    Args:
        width: E.
        layers: how many.
        heads: of the attention.
        head_width: of each head; heads * head_width may differ from E.
        hidden: width inside the MLP.
        places: of the positions, the token's among them; one less is the most frames of a clip.
    """

    def __init__(
        self, width: int, layers: int, heads: int, head_width: int, hidden: int, places: int
    ) -> None:
        super().__init__()
        self.token = nn.Parameter(torch.randn(1, 1, width))
        self.position = nn.Parameter(torch.randn(1, places, width))
        self.layers = nn.ModuleList(
            PreNormLayer(width, heads, head_width, hidden) for _ in range(layers)
        )

    def forward(self, features: Tensor) -> Tensor:
        """Frames' features (B, T, E) -> the clips' (B, E)."""
        clips, length, _ = features.shape
        most = self.position.shape[1] - 1
        if length > most:
            raise InputError(f"frames: {length} of a clip, expected at most {most}")
        x = torch.cat([self.token.expand(clips, -1, -1), features], 1)
        x = x + self.position[:, : 1 + length]
        for layer in self.layers:
            x = layer(x)
        return x[:, 0]


def class_token_transformer(config: ClassTokenConfig, width: int) -> ClassTokenTransformer | None:
    """The one that the options ask for, over features of that width; None without layers."""
    if not config.temporal_layers:
        return None
    return ClassTokenTransformer(
        width,
        config.temporal_layers,
        config.temporal_heads,
        config.temporal_head_width,
        config.temporal_hidden,
        config.places,
    )


class PreNormLayer(nn.Module):
    """``x + W_o MHA(LN x) + b_o``, then ``x + W_2 GELU(W_1 LN x + b_1) + b_2``.

    Queries, keys and values are one product without bias, and GELU is its tanh form. Weights start
    as nn.Linear's.

    Args:
        width: E.
        heads: of the attention.
        head_width: of each head.
        hidden: width inside the MLP.
    """

    def __init__(self, width: int, heads: int, head_width: int, hidden: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm_1 = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * heads * head_width, bias=False)
        self.out = nn.Linear(heads * head_width, width)
        self.norm_2 = nn.LayerNorm(width)
        self.mlp_in = nn.Linear(width, hidden)
        self.mlp_out = nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        """(B, L, E) -> (B, L, E)."""
        packed = self.qkv(self.norm_1(x)).unflatten(-1, (3, self.heads, -1))
        q, k, v = packed.permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        x = x + self.out(mixed)
        y = F.gelu(self.mlp_in(self.norm_2(x)), approximate="tanh")
        return x + self.mlp_out(y)
