"""A linear classifier on CLIP's features."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from peclip_fast.config.methods.linear_probe import LinearProbeConfig
from peclip_fast.models.adapted_clip import LOGIT_SCALE, AdaptedCLIP
from peclip_fast.registry import register_method


@register_method("linear_probe")
class LinearProbe(AdaptedCLIP):
    """``100 W v + b``, v the mean of a clip's frames, of length 1; W (C, E) and b start at zero.

    With the texts' features as W it would be zero-shot CLIP. Args as AdaptedCLIP.
    """

    config_class = LinearProbeConfig
    config: LinearProbeConfig

    def make_parts(self) -> None:
        """See AdaptedCLIP."""
        self.head = nn.Linear(self.text.features, len(self.classes))
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def encode_classes(self) -> Tensor:
        """The weights of the classes (C, E), not of length 1; no text is read."""
        return self.head.weight

    def logits(self, clips: Tensor, classes: Tensor) -> Tensor:
        """See AdaptedCLIP."""
        with torch.autocast(clips.device.type, enabled=False):
            return F.linear(LOGIT_SCALE * clips, classes, self.head.bias)
