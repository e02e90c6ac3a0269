"""Methods that end in a linear layer in the place of CLIP's texts."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from peclip_fast.config.heads import HeadedConfig
from peclip_fast.models.adapted_clip import FROZEN, AdaptedCLIP, Stage
from peclip_fast.models.parts.linear_head import LinearHead


class HeadedCLIP(AdaptedCLIP):
    """A method with a linear head on the pooled features, or with CLIP's head where it has none.

    With a linear head nothing is projected into the space of the texts, which nobody reads, and
    features aren't of length 1. Args as AdaptedCLIP.

    Attributes:
        head: the linear one, which make_parts() gets from make_head().
    """

    config: HeadedConfig
    head: LinearHead | None

    def make_head(self, std: float) -> LinearHead | None:
        """The head that the options ask for, with first weights N(0, std)."""
        if self.config.head == "clip":
            return None
        return LinearHead(self.vision_width, len(self.classes), std, self.config.head_dropout)

    def project(self, pooled: Tensor) -> Tensor:
        """See CLIPEncoders."""
        return super().project(pooled) if self.head is None else pooled

    def over_time(self, features: Tensor) -> Tensor:
        """See AdaptedCLIP."""
        return super().over_time(features) if self.head is None else features.mean(1)

    def encode_classes(self) -> Tensor:
        """Features of the class texts (C, E), or the linear head's weight (C, D)."""
        return super().encode_classes() if self.head is None else self.head.weight

    def class_side(self) -> Iterator[Tensor]:
        """See AdaptedCLIP; no text has trained parts."""
        if self.head is not None:
            yield self.head.weight
        yield self.class_tokens

    def logits(self, clips: Tensor, classes: Tensor) -> Tensor:
        """See AdaptedCLIP."""
        if self.head is None:
            return super().logits(clips, classes)
        with torch.autocast(clips.device.type, enabled=False):
            return self.head.compare(clips, classes)

    def stages(self) -> list[Stage]:
        """The frozen CLIP, with the trained head where CLIP has none of its own."""
        if self.head is None:
            return super().stages()
        return [Stage(f"{FROZEN}, trained head", ("head",))]
