"""CLIP-LoRA: low-rank changes of the attention in both encoders, and nothing over time."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable
from typing import cast

import torch
from torch import Tensor, nn

from peclip_fast.config.methods.clip_lora import CLIPLoRAConfig
from peclip_fast.models.adapted_clip import AdaptedCLIP
from peclip_fast.models.encoders import NO_HOOKS
from peclip_fast.models.hooks import Hooks
from peclip_fast.models.parts.low_rank import LowRank
from peclip_fast.models.published.checkpoint import PublishedCheckpoint
from peclip_fast.models.published.clip_lora import load_clip_lora
from peclip_fast.models.towers import Tower
from peclip_fast.models.towers.blocks import PlainBlock
from peclip_fast.registry import register_method


@register_method("clip_lora")
class CLIPLoRA(AdaptedCLIP):
    """The model of CLIP-LoRA (arXiv 2405.18541), section 3, for clips: the mean of their frames.

    Args as AdaptedCLIP.
    """

    config_class = CLIPLoRAConfig
    config: CLIPLoRAConfig

    def make_parts(self) -> None:
        """See AdaptedCLIP."""
        config = self.config

        def each(tower: Tower) -> nn.ModuleList:
            scale = config.alpha / math.sqrt(config.rank)
            made = (config.rank, scale, config.lora_dropout)
            return nn.ModuleList(LowRank(tower.width, *made) for _ in tower.blocks)

        self.lora = nn.ModuleDict({"vision": each(self.vision), "text": each(self.text)})

    def frame_hooks(self, length: int) -> Hooks:
        """See AdaptedCLIP."""
        return self._hooks("vision")

    def text_hooks(self) -> Hooks:
        """See AdaptedCLIP."""
        return self._hooks("text")

    def _hooks(self, name: str) -> Hooks:
        changes = self.lora[name]
        assert isinstance(changes, nn.ModuleList)
        if not changes:
            return NO_HOOKS

        def qkv(i: int, y: Tensor) -> Tensor:
            added: Tensor = changes[i](y)
            return added

        return Hooks(qkv=qkv, random=self.training and self.config.lora_dropout > 0)

    @torch.no_grad()
    def merged(self) -> CLIPLoRA:
        """See AdaptedCLIP: W + scale B A in the vision blocks, where q, k and v are one product."""
        blocks = self.vision.blocks
        if not all(isinstance(block, PlainBlock) for block in blocks):
            return self
        model = copy.deepcopy(self)
        for i, change in enumerate(cast(Iterable[LowRank], model.lora["vision"])):
            weight, _ = cast(PlainBlock, model.vision.blocks[i]).packed()
            weight += change.scale * (change.up @ change.down).flatten(0, 1)
        model.lora["vision"] = nn.ModuleList()
        return model

    @classmethod
    def from_published(cls, checkpoint: PublishedCheckpoint) -> CLIPLoRA:
        """See AdaptedCLIP."""
        return load_clip_lora(cls, checkpoint)
