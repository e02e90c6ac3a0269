"""DFER-CLIP with any tensors of the backbone trained, for the tests."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from peclip_fast import register_method
from peclip_fast.config.methods.dfer_clip import DFERCLIPConfig
from peclip_fast.models.methods.dfer_clip import DFERCLIP


@dataclass(frozen=True)
class ToyDFERConfig(DFERCLIPConfig):
    """DFER-CLIP's, and what of the backbone is trained.

    Args:
        trained: a pattern.
    """

    method: str = "toy_dfer"
    texts: str | list[str] | dict[str, str] = "class_names"
    trained: str = "visual.*"

    targets: ClassVar = ("classes", "descriptions")


@register_method("toy_dfer")
class ToyDFER(DFERCLIP):
    """DFER-CLIP with other tensors trained, which reads descriptions, too."""

    config_class = ToyDFERConfig
    config: ToyDFERConfig

    @property
    def trained_backbone(self) -> tuple[str, ...]:
        return (self.config.trained,)

    def encode_descriptions(self, tokens: Tensor) -> Tensor:
        return self.encode_text(tokens)
