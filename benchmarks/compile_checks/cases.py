"""The sizes whose kernels are looked at: those of the paper."""

from __future__ import annotations

from typing import NamedTuple


class Case(NamedTuple):
    """Under autocast the residual, the gradient of the output and the LayerNorm are in fp32."""

    width: int
    hidden: int
    dtype: str
    autocast: bool = False

    @property
    def wide_dtype(self) -> str:
        return "fp32" if self.autocast else self.dtype

    def __str__(self) -> str:
        return f"{self.width}, {self.hidden}, {self.dtype}{' autocast' if self.autocast else ''}"


PAPER = [Case(768, 96, "bf16"), Case(768, 96, "bf16", autocast=True)]
CASES = [
    *PAPER,
    Case(768, 96, "fp16"),
    Case(768, 96, "fp32"),
    *(Case(width, h, "bf16") for width, h in ((768, 48), (768, 192), (512, 64), (1024, 128))),
]
