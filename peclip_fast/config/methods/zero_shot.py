"""The options of CLIP without any training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from peclip_fast.config.model import ClassTextConfig
from peclip_fast.registry import register_config


@register_config("zero_shot")
@dataclass(frozen=True)
class ZeroShotConfig(ClassTextConfig):
    """CLIP as it is: the mean of a clip's frames against the class texts; nothing is trained."""

    method: str = "zero_shot"

    title: ClassVar[str] = "Zero-shot CLIP"
    learning_rates: ClassVar[Mapping[str, float]] = {}
