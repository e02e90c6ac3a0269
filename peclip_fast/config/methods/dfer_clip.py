"""DFER-CLIP's options."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from peclip_fast.config.methods.class_token import ClassTokenConfig
from peclip_fast.registry import register_config


@register_config("dfer_clip")
@dataclass(frozen=True)
class DFERCLIPConfig(ClassTokenConfig):
    """DFER-CLIP (arXiv 2308.13382), which trains the image encoder, too.

    The defaults are those of its program.

    Args:
        context_tokens: learned tokens before the class texts; 0 is none.
        class_contexts: each class has learned tokens of its own; false is the same for all.
    """

    method: str = "dfer_clip"
    context_tokens: int = 8
    class_contexts: bool = True

    title: ClassVar[str] = "DFER-CLIP"
    learning_rates: ClassVar[Mapping[str, float]] = {
        "temporal": 1e-2,
        "prompts": 1e-3,
        "backbone": 1e-5,
    }

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_at_least(0, "context_tokens")
