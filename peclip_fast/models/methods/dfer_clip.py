"""DFER-CLIP: a trained image encoder, a transformer over the frames, learned context by class."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace

import torch.nn.functional as F
from torch import Tensor

from peclip_fast.config.methods.dfer_clip import DFERCLIPConfig
from peclip_fast.models.adapted_clip import AdaptedCLIP
from peclip_fast.models.parts.class_token_transformer import class_token_transformer
from peclip_fast.models.parts.prompts import Prompts
from peclip_fast.models.published.checkpoint import PublishedCheckpoint
from peclip_fast.models.published.dfer_clip import load_dfer_clip
from peclip_fast.registry import register_method


@register_method("dfer_clip")
class DFERCLIP(AdaptedCLIP):
    """The model of DFER-CLIP (arXiv 2308.13382). Args as AdaptedCLIP."""

    config_class = DFERCLIPConfig
    config: DFERCLIPConfig
    trained_backbone = ("visual.*",)

    def make_parts(self) -> None:
        """See AdaptedCLIP."""
        config = self.config
        self.temporal = class_token_transformer(config, self.text.features)
        self.prompts = None
        if config.context_tokens:
            classes = len(self.classes) if config.class_contexts else None
            self.prompts = Prompts(config.context_tokens, 1, self.text.width, classes=classes)

    def text_context(self) -> Sequence[Tensor]:
        """See AdaptedCLIP."""
        return () if self.prompts is None else self.prompts.for_text()

    def class_side(self) -> Iterator[Tensor]:
        """See AdaptedCLIP."""
        if self.prompts is not None:
            yield from self.prompts.parameters()
        yield self.class_tokens

    def over_time(self, features: Tensor) -> Tensor:
        """See AdaptedCLIP."""
        if self.temporal is None:
            return super().over_time(features)
        return F.normalize(self.temporal(features), dim=-1)

    def config_with(self, kept: Collection[str]) -> DFERCLIPConfig:
        """See AdaptedCLIP."""
        config = self.config
        return replace(
            config,
            context_tokens=config.context_tokens if "prompts" in kept else 0,
            temporal_layers=config.temporal_layers if "temporal" in kept else 0,
        )

    @classmethod
    def from_published(cls, checkpoint: PublishedCheckpoint) -> DFERCLIP:
        """See AdaptedCLIP."""
        return load_dfer_clip(cls, checkpoint)
