"""EmoCLIP: a transformer over the frames of a frozen CLIP, and a learned scale of the cosines."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from peclip_fast.config.methods.emoclip import EmoCLIPConfig
from peclip_fast.models.adapted_clip import LOGIT_SCALE, AdaptedCLIP
from peclip_fast.models.parts.class_token_transformer import class_token_transformer
from peclip_fast.models.published.checkpoint import PublishedCheckpoint
from peclip_fast.models.published.emoclip import load_emoclip
from peclip_fast.registry import register_method


class LearnedScale(nn.Module):
    """exp(s), which multiplies the cosines; s starts as CLIP's, ln 100."""

    def __init__(self) -> None:
        super().__init__()
        self.log = nn.Parameter(torch.tensor(math.log(LOGIT_SCALE)))

    def forward(self) -> Tensor:
        """A scalar."""
        return self.log.exp()


@register_method("emoclip")
class EmoCLIP(AdaptedCLIP):
    """The model of EmoCLIP (arXiv 2310.16640). Args as AdaptedCLIP."""

    config_class = EmoCLIPConfig
    config: EmoCLIPConfig

    def make_parts(self) -> None:
        """See AdaptedCLIP."""
        self.temporal = class_token_transformer(self.config, self.text.features)
        self.scale = LearnedScale()

    @property
    def logit_scale(self) -> Tensor:
        """See AdaptedCLIP."""
        scale: Tensor = self.scale()
        return scale

    def class_side(self) -> Iterator[Tensor]:
        """See AdaptedCLIP."""
        yield self.class_tokens

    def over_time(self, features: Tensor) -> Tensor:
        """See AdaptedCLIP."""
        if self.temporal is None:
            return super().over_time(features)
        return F.normalize(self.temporal(features), dim=-1)

    def loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        """See AdaptedCLIP; the program's loss where ``config.loss`` is "batch".

        Each clip has one right text, its own, and each text one right clip, although clips of one
        class have the same text: so the loss can't fall below about ln(batch / classes).
        """
        if self.config.loss == "classes":
            return super().loss(logits, targets)
        own = logits[:, targets.argmax(1)]  # (B, B): clip i and the text of clip j's class
        right = torch.arange(len(own), device=own.device)
        both = (F.cross_entropy(side, right, reduction="sum") for side in (own, own.T))
        return sum(both, own.new_zeros(())) / 2

    def config_with(self, kept: Collection[str]) -> EmoCLIPConfig:
        """See AdaptedCLIP."""
        layers = self.config.temporal_layers if "temporal" in kept else 0
        return replace(self.config, temporal_layers=layers)

    @classmethod
    def from_published(cls, checkpoint: PublishedCheckpoint) -> EmoCLIP:
        """See AdaptedCLIP."""
        return load_emoclip(cls, checkpoint)
