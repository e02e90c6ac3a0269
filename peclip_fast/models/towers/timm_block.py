"""The blocks of timm's encoders."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from timm.layers import apply_rot_embed_cat
from timm.models.eva import EvaBlock, EvaBlockPostNorm
from timm.models.vision_transformer import Block
from torch import Tensor

from peclip_fast.errors import InputError
from peclip_fast.models.towers.blocks import (
    NO_NORM,
    QKV,
    FrozenBlock,
    ViTBlock,
    other_blocks,
    summed_and_normed,
)


class TimmBlock(FrozenBlock):
    """timm's other blocks, in plain PyTorch: rotary positions, SwiGLU, inner norms, post-norms.

    Args:
        block: a Block, EvaBlock or EvaBlockPostNorm.
        rotary: the module that gives the positions' sines and cosines, side by side (patches, 2d).
        prefix: tokens in front of the patches. Neither they nor the prompts after
            the patches are turned.
    """

    def __init__(self, block: Any, rotary: Any, prefix: int) -> None:
        self.block, self.rotary, self.prefix = block, rotary, prefix
        self.post_norm = isinstance(block, EvaBlockPostNorm)

    def heads(
        self,
        x: Tensor,
        queries: int | None = None,
        qkv: QKV | None = None,
        backend: str = "auto",
        normed: Tensor | None = None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """See FrozenBlock; the backend is PyTorch."""
        attn, y = self.block.attn, self.before_attention(x)[1] if normed is None else normed
        if attn.qkv is None:
            q, k, v = attn.q_proj(y[:, :queries]), attn.k_proj(y), attn.v_proj(y)
        else:
            bias = attn.qkv.bias
            if getattr(attn, "q_bias", None) is not None:
                bias = torch.cat([attn.q_bias, attn.k_bias, attn.v_bias])
            q, k, v = F.linear(y, attn.qkv.weight, bias).chunk(3, -1)
            q = q[:, :queries]
        if qkv is not None:
            dq, dk, dv = qkv(y).to(q.dtype).chunk(3, -1)
            q, k, v = q + dq[:, :queries], k + dk, v + dv
        q, k, v = (t.unflatten(-1, (attn.num_heads, -1)).transpose(1, 2) for t in (q, k, v))
        return self._turned(attn.q_norm(q)).type_as(v), self._turned(attn.k_norm(k)).type_as(v), v

    def product(self, y: Tensor) -> Tensor:
        """See FrozenBlock."""
        attn = self.block.attn
        if attn.qkv is not None:
            return F.linear(y, attn.qkv.weight)
        layers = attn.q_proj, attn.k_proj, attn.v_proj
        return torch.cat([F.linear(y, layer.weight) for layer in layers], -1)

    def without_positions(self) -> FrozenBlock:
        """See FrozenBlock."""
        return TimmBlock(self.block, None, self.prefix)

    def _turned(self, q: Tensor) -> Tensor:
        """q or k turned by its patches' positions (RoFormer, arXiv 2104.09864, in two axes)."""
        if self.rotary is None or q.shape[2] <= self.prefix:
            return q
        table = self.rotary.get_embed()
        end = self.prefix + len(table)
        half = getattr(self.block.attn, "rotate_half", False)
        patches = apply_rot_embed_cat(q[:, :, self.prefix : end], table, half=half)
        return torch.cat([q[:, :, : self.prefix], patches, q[:, :, end:]], 2)

    def merge(self, mixed: Tensor, backend: str = "auto") -> Tensor:
        """See FrozenBlock; the backend is PyTorch."""
        attn = self.block.attn
        return self._behind(attn.proj(attn.norm(mixed)), 1)

    def before_attention(
        self,
        x: Tensor,
        added: Tensor | None = None,
        learned: Tensor | None = None,
        start: int = 0,
        backend: str = "auto",
    ) -> tuple[Tensor, Tensor]:
        """See FrozenBlock; a norm after the attention is none before it."""
        norm = NO_NORM if self.post_norm else self.block.norm1
        return summed_and_normed(norm, x, added, learned, start, backend)

    def before_mlp(
        self, x: Tensor, added: Tensor | None = None, backend: str = "auto"
    ) -> tuple[Tensor, Tensor]:
        """See FrozenBlock."""
        norm = NO_NORM if self.post_norm else self.block.norm2
        return summed_and_normed(norm, x, added, backend=backend)

    def feed_forward(
        self, x: Tensor, backend: str = "auto", normed: Tensor | None = None
    ) -> Tensor:
        """See FrozenBlock; the backend is PyTorch."""
        return self._behind(self.block.mlp(self.norm_2(x) if normed is None else normed), 2)

    def _behind(self, y: Tensor, place: int) -> Tensor:
        """The norm or the scale after the attention (1) or the MLP (2)."""
        if self.post_norm:
            return getattr(self.block, f"norm{place}")(y)
        if isinstance(self.block, EvaBlock):
            gamma = getattr(self.block, f"gamma_{place}")
            return y if gamma is None else gamma * y
        return getattr(self.block, f"ls{place}")(y)


def timm_blocks(trunk: Any, name: str) -> list[FrozenBlock]:
    """The blocks of timm's VisionTransformer or Eva, or InputError that names their kind."""
    found: list[Any] = list(trunk.blocks)
    if not all(type(block) in (Block, EvaBlock, EvaBlockPostNorm) for block in found):
        raise other_blocks(found, "vision", name, "timm's Block or EvaBlock")
    rotary = getattr(trunk, "rope", None)
    for block in found:
        attn = block.attn
        grouped = getattr(attn, "num_kv_groups", 1) > 1
        if grouped or getattr(attn, "gate", None) is not None or not hasattr(attn, "proj"):
            raise InputError(
                f"backbone {name!r}: its vision encoder has the attention {type(attn).__name__} "
                "with shared heads or gates; expected plain or rotary attention"
            )
    return [
        ViTBlock(block)
        if type(block) is Block and ViTBlock.fits(block)
        else TimmBlock(block, rotary, trunk.num_prefix_tokens)
        for block in found
    ]
