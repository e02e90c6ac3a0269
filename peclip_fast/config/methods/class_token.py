"""What DFER-CLIP's and EmoCLIP's options have in common."""

from __future__ import annotations

from dataclasses import dataclass

from peclip_fast.config.data import DataConfig
from peclip_fast.config.model import ClassTextConfig
from peclip_fast.config.train import TrainConfig
from peclip_fast.errors import InputError


@dataclass(frozen=True)
class ClassTokenConfig(ClassTextConfig):
    """A method with a ClassTokenTransformer over the frames' features.

    Args:
        temporal_layers: transformer layers over the frames' features; 0 is their mean.
        temporal_heads: of each of these layers.
        temporal_head_width: of each head.
        temporal_hidden: width inside the MLPs of these layers.
        places: positions of these layers, one for their class token and one for each frame.
    """

    texts: str | list[str] | dict[str, str] = "descriptions"
    temporal_layers: int = 1
    temporal_heads: int = 8
    temporal_head_width: int = 64
    temporal_hidden: int = 1024
    places: int = 17

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_at_least(0, "temporal_layers")
        self.check_at_least(1, "temporal_heads", "temporal_head_width", "temporal_hidden")
        self.check_at_least(2, "places")

    @property
    def models_time(self) -> bool:
        """See ModelConfig."""
        return self.temporal_layers > 0

    def check_run(self, data: DataConfig, train: TrainConfig) -> None:
        """See ModelConfig."""
        if self.temporal_layers and data.frames >= self.places:
            raise InputError(
                f"data.frames={data.frames}: expected less than model.places={self.places}, as the "
                "class token takes one"
            )
