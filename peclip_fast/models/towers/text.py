"""open_clip's own text encoders."""

from __future__ import annotations

from typing import Any

import open_clip
import torch
from open_clip.transformer import TextTransformer
from torch import Tensor, nn

from peclip_fast.errors import InputError
from peclip_fast.models.towers.blocks import clip_blocks
from peclip_fast.models.towers.tower import Tower

POOLS = ("argmax", "eos", "last")  # the position whose token is the text's feature


class TextTower(Tower):
    """A view of open_clip's text encoder, whether or not it is a module of its own.

    Args:
        backbone: open_clip's CLIP or CustomTextCLIP.
        name: for messages.

    Attributes:
        blocks: the frozen blocks.
        width: Dt.
        features: E, the width of what project() gives.
        context_length: positions that there are.
        causal: whether a position sees only itself and those before it.
        whole: whether every position counts, padding too, so that a text can't be cut after its
            end: without a causal mask, or where the feature is the last position's.
        start: number of tokens in front of the learned context: CLIP's start-of-text, and none
            where texts have none (SigLIP).
    """

    def __init__(self, backbone: Any, name: str) -> None:
        text: Any = backbone if isinstance(backbone, open_clip.CLIP) else backbone.text
        if not isinstance(text, (open_clip.CLIP, TextTransformer)):
            raise InputError(
                f"backbone {name!r}: its text encoder is a {type(text).__name__}; expected "
                "open_clip's own TextTransformer"
            )
        custom = isinstance(text, TextTransformer)
        self._pool: str = text.pool_type if custom else text.text_pool_type
        self._end: int = getattr(text, "eos_id" if custom else "text_eos_id", -1)
        if getattr(text, "cls_emb", None) is not None or getattr(text, "use_pad_mask", False):
            raise InputError(
                f"backbone {name!r}: its text encoder ends in a class embedding or masks its "
                "padding; expected a feature at one of the text's own tokens"
            )
        if self._pool not in POOLS:
            raise InputError(
                f"backbone {name!r}: its text encoder pools by {self._pool!r}; expected one of "
                f"{', '.join(POOLS)}"
            )
        self.text = text
        self.blocks = clip_blocks(text.transformer.resblocks, "text", name)
        self.width: int = text.token_embedding.embedding_dim
        projection = self.text.text_projection
        linear = isinstance(projection, nn.Linear)
        self.features: int = (
            self.width if projection is None
            else projection.out_features if linear else projection.shape[1]
        )  # fmt: skip
        self.context_length: int = text.positional_embedding.shape[0]
        self.causal = text.attn_mask is not None
        self.whole = not self.causal or self._pool == "last"
        self.start = 1 if self._pool == "argmax" else 0

    def embed(self, tokens: Tensor, context: Tensor | None) -> Tensor:
        """tokens (C, n) -> (C, n + N, Dt).

        The context, (N, Dt) or one for each text (C, N, Dt), comes after ``start`` tokens.
        """
        x, start = self.text.token_embedding(tokens), self.start
        if context is not None:
            learned = context.to(x.dtype).expand(len(tokens), -1, -1)
            x = torch.cat([x[:, :start], learned, x[:, start:]], 1)
        return x + self.text.positional_embedding[: x.shape[1]].to(x.dtype)

    def prompts_at(self, tokens: int, prompts: int) -> int:
        """See Tower."""
        return self.start

    def ends(self, tokens: Tensor, context: int) -> Tensor:
        """tokens (C, n) -> where project() reads among the n + ``context`` positions, (C,)."""
        if self._pool == "argmax":
            return tokens.argmax(-1) + context
        if self._pool == "eos":
            return tokens.eq(self._end).int().argmax(-1) + context
        return torch.full_like(tokens[:, 0], tokens.shape[1] - 1 + context)

    def project(self, end: Tensor) -> Tensor:
        """The tokens at ends(), (C, Dt), -> text features (C, E)."""
        end, projection = self.text.ln_final(end), self.text.text_projection
        if projection is None:
            return end
        return projection(end) if isinstance(projection, nn.Linear) else end @ projection
