"""The options of a linear classifier on CLIP's features."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from peclip_fast.config.model import ModelConfig
from peclip_fast.registry import register_config


@register_config("linear_probe")
@dataclass(frozen=True)
class LinearProbeConfig(ModelConfig):
    """A linear classifier of the mean of a clip's frames; the backbone is frozen."""

    method: str = "linear_probe"

    title: ClassVar[str] = "Linear probe"
    learning_rates: ClassVar[Mapping[str, float]] = {"head": 1e-3}
