"""Learned context: CoOp in the first text layer, MaPLe deep in both encoders."""

from __future__ import annotations

import torch
from torch import Tensor, nn

CONTEXT_STD = 0.02  # the generic start of CoOp and MaPLe


class Prompts(nn.Module):
    """Context tokens per layer: one layer of the text encoder is CoOp, more of both is MaPLe.

    ``text[i]`` (N, Dt) follows the start token at the input of text block i. With ``vision_width``,
    its projection (N, D) follows the patch tokens of vision block i. With ``classes`` each class
    text has a context of its own, and ``text[i]`` is (C, N, Dt).

    Args:
        tokens: N.
        depth: how many layers have context of their own.
        text_width: Dt.
        vision_width: D; None is for the text encoder only.
        classes: C; None is one context for all.
    """

    def __init__(
        self,
        tokens: int,
        depth: int,
        text_width: int,
        vision_width: int | None = None,
        classes: int | None = None,
    ) -> None:
        super().__init__()
        if classes is not None and vision_width is not None:
            raise ValueError("a context for each class can't be projected into the frames")
        shape = (tokens, text_width) if classes is None else (classes, tokens, text_width)
        self.text = nn.ParameterList(
            nn.Parameter(torch.randn(shape) * CONTEXT_STD) for _ in range(depth)
        )
        self.projections = nn.ModuleList(
            nn.Linear(text_width, vision_width) for _ in range(depth) if vision_width is not None
        )
        self.tokens = tokens

    def for_text(self) -> list[Tensor]:
        """One (N, Dt) or (C, N, Dt) for each text block from the first on."""
        return list(self.text)

    def for_vision(self) -> list[Tensor]:
        """One (N, D) for each vision block from the first on; empty without projections.

        Without autocast: casts would take longer than these products of a few rows.
        """
        with torch.autocast(self.text[0].device.type, enabled=False):
            return [
                project(text) for project, text in zip(self.projections, self.text, strict=False)
            ]
