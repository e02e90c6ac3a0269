"""DFER-CLIP for the tests, on the interface that plugins have."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from peclip_fast import AdaptedCLIP, ModelConfig, register_method
from peclip_fast.models.parts.prompts import Prompts


@dataclass(frozen=True)
class ToyDFERConfig(ModelConfig):
    """DFER-CLIP's sizes, those of its vectors unless given."""

    method: str = "toy_dfer"
    contexts: int = 3  # 0 is none
    layers: int = 2  # 0 is the mean over the frames
    heads: int = 3
    head_width: int = 8
    hidden: int = 48
    most_frames: int = 5
    trained: str = "visual.*"

    learning_rates: ClassVar = {"temporal": 1e-2, "prompts": 1e-3, "backbone": 1e-5}
    targets: ClassVar = ("classes", "descriptions")


class Layer(nn.Module):
    """Pre-norm attention and MLP, as DFER-CLIP has them."""

    def __init__(self, width: int, heads: int, head_width: int, hidden: int) -> None:
        super().__init__()
        self.norm_1, self.norm_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * heads * head_width, bias=False)
        self.out = nn.Linear(heads * head_width, width)
        self.mlp_in, self.mlp_out = nn.Linear(width, hidden), nn.Linear(hidden, width)
        self.heads = heads

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (
            t.unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for t in self.qkv(self.norm_1(x)).chunk(3, -1)
        )
        mixed = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        x = x + self.out(mixed)
        return x + self.mlp_out(F.gelu(self.mlp_in(self.norm_2(x)), approximate="tanh"))


class ClassToken(nn.Module):
    """A token in front of the frames' features, and what the layers make of it."""

    def __init__(self, width: int, config: ToyDFERConfig) -> None:
        super().__init__()
        self.token = nn.Parameter(torch.randn(1, 1, width))
        self.position = nn.Parameter(torch.randn(1 + config.most_frames, width))
        self.layers = nn.Sequential(
            *(
                Layer(width, config.heads, config.head_width, config.hidden)
                for _ in range(config.layers)
            )
        )

    def forward(self, features: Tensor) -> Tensor:
        x = torch.cat([self.token.expand(len(features), -1, -1), features], 1)
        return self.layers(x + self.position[: x.shape[1]])[:, 0]


@register_method("toy_dfer")
class ToyDFER(AdaptedCLIP):
    """DFER-CLIP (arXiv 2308.13382): a trained encoder, contexts for each class, time at the end."""

    config_class = ToyDFERConfig
    config: ToyDFERConfig

    @property
    def trained_backbone(self) -> tuple[str, ...]:
        return (self.config.trained,)

    def make_parts(self) -> None:
        config, number = self.config, len(self.classes)
        self.temporal = ClassToken(self.text.features, config) if config.layers else None
        self.prompts = (
            Prompts(config.contexts, 1, self.text.width, classes=number)
            if config.contexts
            else None
        )

    def text_context(self) -> Sequence[Tensor]:
        return () if self.prompts is None else self.prompts.for_text()

    def over_time(self, features: Tensor) -> Tensor:
        if self.temporal is None:
            return super().over_time(features)
        return F.normalize(self.temporal(features), dim=-1)

    def config_with(self, kept: Collection[str]) -> ToyDFERConfig:
        config = self.config
        return replace(
            config,
            contexts=config.contexts if "prompts" in kept else 0,
            layers=config.layers if "temporal" in kept else 0,
        )

    def encode_descriptions(self, tokens: Tensor) -> Tensor:
        return self.encode_text(tokens)
