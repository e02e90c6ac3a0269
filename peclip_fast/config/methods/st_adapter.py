"""ST-Adapter's options."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from peclip_fast.config.heads import HeadedConfig
from peclip_fast.errors import InputError
from peclip_fast.registry import register_config


@register_config("st_adapter")
@dataclass(frozen=True)
class STAdapterConfig(HeadedConfig):
    """ST-Adapter (arXiv 2206.13559): depthwise convolutions over frames and patches.

    Args:
        hidden: width inside the adapters.
        kernel: the convolution's size over frames, rows and columns, odd numbers; 3, 1, 1 is over
            time only.
        before_attention: adapters in front of the attention, too, as for Something-Something.
        before_mlp: adapters in front of the MLP.
        adapted_blocks: how many blocks have adapters, the last ones; null is all.
    """

    method: str = "st_adapter"
    hidden: int = 384
    kernel: tuple[int, int, int] = (3, 1, 1)
    before_attention: bool = False
    before_mlp: bool = True
    adapted_blocks: int | None = None

    title: ClassVar[str] = "ST-Adapter"
    learning_rates: ClassVar[Mapping[str, float]] = {"adapters": 7.5e-4, "head": 7.5e-4}
    undecayed: ClassVar[tuple[str, ...]] = ("*.bias",)

    @property
    def models_time(self) -> bool:
        """See ModelConfig."""
        return self.kernel[0] > 1

    def __post_init__(self) -> None:
        super().__post_init__()
        sizes = tuple(self.kernel)
        if len(sizes) != 3 or not all(isinstance(k, int) and k > 0 and k % 2 for k in sizes):
            raise InputError(f"kernel={self.kernel!r}: expected three odd numbers, such as 3, 1, 1")
        object.__setattr__(self, "kernel", sizes)
        self.check_at_least(1, "hidden")
        if self.adapted_blocks is not None:
            self.check_at_least(1, "adapted_blocks")
        if not (self.before_attention or self.before_mlp):
            raise InputError("before_attention, before_mlp: expected at least one of them")
