"""MotionCLIP: each block of the image encoder also sees what changed since the frame before."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from peclip_fast import AdaptedCLIP, Hooks, ModelConfig, register_method


@dataclass(frozen=True)
class MotionCLIPConfig(ModelConfig):
    """Each field is an option, such as --model.hidden.

    Args:
        hidden: width inside the motion adapters.
    """

    method: str = "motion_clip"
    hidden: int = 32

    title: ClassVar[str] = "MotionCLIP"
    learning_rates: ClassVar[Mapping[str, float]] = {"motion": 1e-3}  # --train.lr.motion
    models_time = True  # the order of the frames can change the answer

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_at_least(1, "hidden")


@register_method("motion_clip")
class MotionCLIP(AdaptedCLIP):
    """CLIP with motion adapters; a clip is the mean of its frames, as in AdaptedCLIP."""

    config_class = MotionCLIPConfig
    config: MotionCLIPConfig

    def make_parts(self) -> None:
        width, hidden = self.vision_width, self.config.hidden
        self.motion = nn.ModuleList()
        for _ in self.vision.blocks:
            down, up = nn.Linear(width, hidden), nn.Linear(hidden, width)
            nn.init.zeros_(up.weight)  # training starts from CLIP
            nn.init.zeros_(up.bias)
            self.motion.append(nn.Sequential(down, nn.GELU(), up))

    def frame_hooks(self, length: int) -> Hooks:
        def attention(i: int, y: Tensor, x: Tensor) -> Tensor:
            clips = y.unflatten(0, (-1, length))  # what attention adds, (B, T, tokens, D)
            before = torch.cat([clips[:, :1], clips[:, :-1]], 1)
            return x + y + self.motion[i](clips - before).flatten(0, 1)

        return Hooks(attention=attention)
