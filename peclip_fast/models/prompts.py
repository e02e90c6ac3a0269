"""Learned context: CoOp in the first text layer, MaPLe deep in both encoders."""

from __future__ import annotations

import torch
from torch import Tensor, nn

CONTEXT_STD = 0.02  # the generic start of CoOp and MaPLe


def _context(tokens: int, width: int) -> nn.Parameter:
    return nn.Parameter(torch.randn(tokens, width) * CONTEXT_STD)


class Prompts(nn.Module):
    """Context tokens per layer: one layer for text alone is CoOp, more with vision is MaPLe.

    ``text[i]`` (N, Dt) stands behind the start token at the input of text block i. With
    ``vision_width``, its projection (N, D) stands behind the patch tokens of vision block i.
    """

    def __init__(
        self, tokens: int, depth: int, text_width: int, vision_width: int | None = None
    ) -> None:
        super().__init__()
        self.text = nn.ParameterList(_context(tokens, text_width) for _ in range(depth))
        self.projections = nn.ModuleList(
            nn.Linear(text_width, vision_width) for _ in range(depth) if vision_width is not None
        )
        self.tokens = tokens

    def for_text(self) -> list[Tensor]:
        """One (N, Dt) for each text block from the first on."""
        return list(self.text)

    def for_vision(self) -> list[Tensor]:
        """One (N, D) for each vision block from the first on; empty without projections."""
        return [project(text) for project, text in zip(self.projections, self.text, strict=False)]
