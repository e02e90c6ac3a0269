"""The options of full fine-tuning."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from peclip_fast.config.model import ClassTextConfig
from peclip_fast.registry import register_config


@register_config("full")
@dataclass(frozen=True)
class FullConfig(ClassTextConfig):
    """CLIP with all of both encoders trained, and no parts of its own."""

    method: str = "full"

    title: ClassVar[str] = "Full fine-tuning"
    learning_rates: ClassVar[Mapping[str, float]] = {"backbone": 1e-5}
