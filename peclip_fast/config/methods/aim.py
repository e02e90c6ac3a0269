"""AIM's options."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from peclip_fast.config.data import DataConfig
from peclip_fast.config.heads import HeadedConfig
from peclip_fast.config.train import TrainConfig
from peclip_fast.errors import InputError
from peclip_fast.registry import register_config


@register_config("aim")
@dataclass(frozen=True)
class AIMConfig(HeadedConfig):
    """AIM (arXiv 2302.03024): adapters for time, space and both; defaults are Kinetics'.

    Args:
        hidden: width inside the adapters; null is a quarter of the image encoder's.
        most_frames: of a clip, each of which has a learned vector of its own; at least data.frames.
        scale: of the adapters parallel to the MLPs; 1 for Something-Something.
        input_adapter: adapters of what the attention over time reads, as for Something-Something.
        stochastic_depth: share of clips for which training leaves out the last block's adapters of
            time and of the MLP; less in the blocks before, none in the first.
    """

    method: str = "aim"
    hidden: int | None = None
    most_frames: int = 16
    scale: float = 0.5
    input_adapter: bool = False
    stochastic_depth: float = 0.2

    title: ClassVar[str] = "AIM"
    learning_rates: ClassVar[Mapping[str, float]] = {
        "adapters": 3e-4, "head": 3e-4, "backbone": 3e-4
    }  # fmt: skip
    undecayed: ClassVar[tuple[str, ...]] = ("backbone.*",)  # the last norm
    models_time: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_at_least(1, "most_frames", *(["hidden"] if self.hidden is not None else []))
        self.check_share("stochastic_depth")

    def check_run(self, data: DataConfig, train: TrainConfig) -> None:
        """See ModelConfig."""
        if data.frames > self.most_frames:
            raise InputError(
                f"model.most_frames={self.most_frames}: expected at least data.frames={data.frames}"
            )
