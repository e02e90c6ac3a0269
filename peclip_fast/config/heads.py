"""The options of methods that end in a linear layer, or in CLIP's own comparison with texts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from peclip_fast.config.model import ClassTextConfig
from peclip_fast.config.texts import class_texts


@dataclass(frozen=True)
class HeadedConfig(ClassTextConfig):
    """What a method adds that has a linear head by default.

    Args:
        head: linear, one layer from the clip's feature to the logits, as published, which reads no
            texts; or clip, 100 times the cosine with the class texts.
        head_dropout: share of the clip's feature that training sets to zero before the linear head.
    """

    head: Literal["linear", "clip"] = "linear"
    head_dropout: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_share("head_dropout")

    def class_texts(self, classes: Sequence[str]) -> tuple[str, ...]:
        """See ModelConfig; a linear head knows the classes by their names."""
        return class_texts(classes, self.texts if self.head == "clip" else "class_names")
