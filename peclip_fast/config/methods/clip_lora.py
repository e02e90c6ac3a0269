"""CLIP-LoRA's options."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from peclip_fast.config.model import ClassTextConfig
from peclip_fast.errors import InputError
from peclip_fast.registry import register_config


@register_config("clip_lora")
@dataclass(frozen=True)
class CLIPLoRAConfig(ClassTextConfig):
    """CLIP-LoRA (arXiv 2405.18541): low-rank changes of both encoders' attention.

    Args:
        rank: r, of each change.
        alpha: the changes are multiplied by alpha over the root of the rank.
        lora_dropout: share of what a change reads that training sets to zero, drawn anew for
            queries, keys and values.
    """

    method: str = "clip_lora"
    rank: int = 2
    alpha: float = 1.0
    lora_dropout: float = 0.25
    texts: str | list[str] | dict[str, str] = "a photo of a face with an expression of {label}."

    title: ClassVar[str] = "CLIP-LoRA"
    learning_rates: ClassVar[Mapping[str, float]] = {"lora": 2e-4}

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_at_least(1, "rank")
        self.check_share("lora_dropout")
        if self.alpha <= 0:
            raise InputError(f"alpha={self.alpha}: expected more than 0")
