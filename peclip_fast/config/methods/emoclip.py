"""EmoCLIP's options."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

from peclip_fast.config.data import DataConfig
from peclip_fast.config.methods.class_token import ClassTokenConfig
from peclip_fast.config.train import TrainConfig
from peclip_fast.errors import InputError
from peclip_fast.registry import register_config


@register_config("emoclip")
@dataclass(frozen=True)
class EmoCLIPConfig(ClassTokenConfig):
    """EmoCLIP (arXiv 2310.16640), whose encoders both stay frozen.

    The defaults are those of its program, whose heads of 2048 and hidden width of 512 look
    exchanged: 64 and 2048 would be usual.

    Args:
        loss: batch is the program's, of each clip among the class texts of the batch's clips, and
            of each of these texts among the clips; classes is cross entropy over the classes.
    """

    method: str = "emoclip"
    temporal_layers: int = 2
    temporal_head_width: int = 2048
    temporal_hidden: int = 512
    places: int = 1024
    loss: Literal["batch", "classes"] = "batch"

    title: ClassVar[str] = "EmoCLIP"
    learning_rates: ClassVar[Mapping[str, float]] = {"temporal": 1e-3}
    targets: ClassVar[tuple[str, ...]] = ("classes", "descriptions")

    def check_run(self, data: DataConfig, train: TrainConfig) -> None:
        """See ModelConfig."""
        super().check_run(data, train)
        if train.target != "classes" or self.loss != "batch":
            return
        if data.mix.mixup + data.mix.fmix > 0:
            raise InputError(
                "data.mix: expected mixup 0 and fmix 0, as a mixed clip has no text of its own "
                "(model.loss=batch)"
            )
        if train.batch_size < 2:
            raise InputError(
                f"train.batch_size={train.batch_size}: expected at least 2 clips, as they are each "
                "other's wrong answers (model.loss=batch)"
            )
