"""Methods for the tests that use what PE-CLIP and FineCLIPER don't: AIM, CLIP-LoRA and DFER-CLIP.

Each has the equations of its published program, on the interface that plugins have.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from peclip_fast import AdaptedCLIP, Hooks, ModelConfig, register_method
from peclip_fast.config.methods.dfer_clip import DFERCLIPConfig
from peclip_fast.models.hooks import adapt
from peclip_fast.models.methods.dfer_clip import DFERCLIP
from peclip_fast.models.parts.adapters import BottleneckAdapter


@dataclass(frozen=True)
class ToyAIMConfig(ModelConfig):
    """AIM's sizes."""

    method: str = "toy_aim"
    hidden: int = 8
    most_frames: int = 5

    learning_rates: ClassVar = {"adapters": 3e-4, "head": 1e-3, "backbone": 1e-4}


class Shift(nn.Module):
    """What is added to all tokens of each frame."""

    def __init__(self, frames: int, width: int) -> None:
        super().__init__()
        self.values = nn.Parameter(torch.zeros(frames, 1, width))


@register_method("toy_aim")
class ToyAIM(AdaptedCLIP):
    """AIM (arXiv 2302.03024): enter, both hooks, a shift, a trained norm and a linear head."""

    config_class = ToyAIMConfig
    config: ToyAIMConfig
    trained_backbone = ("visual.ln_post.*",)
    looks_ahead = True

    def make_parts(self) -> None:
        config, width = self.config, self.vision_width

        def each(skip: bool, scale: float = 1.0) -> nn.ModuleList:
            return nn.ModuleList(
                BottleneckAdapter(width, config.hidden, config.backend, skip, scale)
                for _ in self.vision.blocks
            )

        self.time, self.space, self.joint = each(False), each(True), each(False, 0.5)
        self.shift = Shift(config.most_frames, width)
        self.head = nn.Linear(width, len(self.classes))

    def frame_hooks(self, length: int) -> Hooks:
        blocks = self.vision.blocks

        def enter(i: int, x: Tensor) -> Tensor:
            tokens = x.shape[1]
            x = x.unflatten(0, (-1, length)).transpose(1, 2).flatten(0, 1)
            x = self.time[i](blocks[i].attend(x), x)
            return x.unflatten(0, (-1, tokens)).transpose(1, 2).flatten(0, 1)

        def joint(i: int, m: Tensor, x: Tensor) -> Tensor:
            return self.joint[i](blocks[i].norm_2(x), x + m)

        return Hooks(adapt(self.space), joint, enter)

    def frame_shift(self, length: int) -> Tensor:
        return self.shift.values[:length]

    def project(self, pooled: Tensor) -> Tensor:
        return pooled

    def over_time(self, features: Tensor) -> Tensor:
        return features.mean(1)

    def encode_classes(self) -> Tensor:
        return self.head.weight

    def logits(self, clips: Tensor, classes: Tensor) -> Tensor:
        return F.linear(clips, classes, self.head.bias)


@dataclass(frozen=True)
class ToyLoRAConfig(ModelConfig):
    """CLIP-LoRA's options."""

    method: str = "toy_lora"
    rank: int = 2
    dropout: float = 0.0

    learning_rates: ClassVar = {"low_rank": 2e-4}


class LowRank(nn.Module):
    """What is added to the queries, keys and values of one block."""

    def __init__(self, width: int, rank: int, dropout: float) -> None:
        super().__init__()
        self.down = nn.Parameter(torch.randn(3, rank, width) / width**0.5)
        self.up = nn.Parameter(torch.zeros(3, width, rank))
        self.dropout, self.scale = dropout, rank**-0.5

    def forward(self, y: Tensor) -> Tensor:
        added = [
            F.dropout(y, self.dropout, self.training) @ down.mT @ up.mT
            for down, up in zip(self.down, self.up, strict=True)
        ]
        return self.scale * torch.cat(added, -1)


@register_method("toy_lora")
class ToyLoRA(AdaptedCLIP):
    """CLIP-LoRA (arXiv 2405.18541): qkv in both towers, with chance where there is dropout."""

    config_class = ToyLoRAConfig
    config: ToyLoRAConfig

    def make_parts(self) -> None:
        self.low_rank = nn.ModuleDict()
        for name, tower in (("vision", self.vision), ("text", self.text)):
            config = self.config
            self.low_rank[name] = nn.ModuleList(
                LowRank(tower.width, config.rank, config.dropout) for _ in tower.blocks
            )

    def _hooks(self, name: str) -> Hooks:
        blocks = self.low_rank[name]
        return Hooks(qkv=lambda i, y: blocks[i](y), random=self.config.dropout > 0)

    def frame_hooks(self, length: int) -> Hooks:
        return self._hooks("vision")

    def text_hooks(self) -> Hooks:
        return self._hooks("text")


@dataclass(frozen=True)
class ToyDFERConfig(DFERCLIPConfig):
    """DFER-CLIP's, and what of the backbone is trained.

    Args:
        trained: a pattern.
    """

    method: str = "toy_dfer"
    texts: str | list[str] | dict[str, str] = "class_names"
    trained: str = "visual.*"

    targets: ClassVar = ("classes", "descriptions")


@register_method("toy_dfer")
class ToyDFER(DFERCLIP):
    """DFER-CLIP with other tensors trained, which reads descriptions, too."""

    config_class = ToyDFERConfig
    config: ToyDFERConfig

    @property
    def trained_backbone(self) -> tuple[str, ...]:
        return (self.config.trained,)

    def encode_descriptions(self, tokens: Tensor) -> Tensor:
        return self.encode_text(tokens)
