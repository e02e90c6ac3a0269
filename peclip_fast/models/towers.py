"""open_clip's frozen encoders, opened at the places where adapters and prompts go in."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from open_clip.transformer import (
    QuickGELU,
    ResidualAttentionBlock,
    TextTransformer,
    VisionTransformer,
)
from torch import Tensor, nn

from peclip_fast import ops
from peclip_fast.errors import InputError


def attend(
    block: Any, x: Tensor, *, causal: bool, queries: int | None = None, backend: str = "auto"
) -> Tensor:
    """MHSA(LN1(x)): (N, L, D) -> (N, L, D), or of the first ``queries`` positions alone."""
    attn, y = block.attn, block.ln_1(x)
    weight, bias, width = attn.in_proj_weight, attn.in_proj_bias, x.shape[-1]
    if queries is None:
        qkv = ops.linear(y, weight, bias, backend=backend)
        heads = ops.attention(qkv, attn.num_heads, causal=causal, backend=backend)
    else:
        q = ops.linear(y[:, :queries], weight[:width], bias[:width], backend=backend)
        k, v = ops.linear(y, weight[width:], bias[width:], backend=backend).chunk(2, -1)
        q, k, v = (t.unflatten(-1, (attn.num_heads, -1)).transpose(1, 2) for t in (q, k, v))
        heads = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
    out = attn.out_proj
    return block.ls_1(ops.linear(heads, out.weight, out.bias, backend=backend))


def feed_forward(block: Any, x: Tensor, backend: str = "auto") -> Tensor:
    """MLP(LN2(x)): (..., D) -> (..., D)."""
    mlp, y = block.mlp, block.ln_2(x)
    activation = _ACTIVATIONS.get(type(mlp.gelu))
    if activation is None or getattr(mlp.gelu, "approximate", "none") != "none":
        return block.ls_2(mlp(y))
    weights = mlp.c_fc.weight, mlp.c_fc.bias, mlp.c_proj.weight, mlp.c_proj.bias
    return block.ls_2(ops.feed_forward(y, *weights, activation, backend=backend))


_ACTIVATIONS = {QuickGELU: "quick_gelu", nn.GELU: "gelu"}


def _blocks(transformer: Any, tower: str, name: str) -> nn.ModuleList:
    blocks: nn.ModuleList = transformer.resblocks
    if not all(isinstance(block, ResidualAttentionBlock) for block in blocks):
        raise InputError(
            f"backbone {name!r}: its {tower} encoder has blocks of the kind "
            f"{type(blocks[0]).__name__}; expected open_clip's ResidualAttentionBlock"
        )
    return blocks


class VisionTower:
    """A view of open_clip's VisionTransformer with a class token."""

    def __init__(self, backbone: Any, name: str) -> None:
        visual: Any = backbone.visual
        if not isinstance(visual, VisionTransformer):
            raise InputError(
                f"backbone {name!r}: its vision encoder is a {type(visual).__name__}; expected "
                "open_clip's own VisionTransformer (ViT-B-16, ViT-L-14, ...)"
            )
        if visual.attn_pool is not None or visual.pool_type != "tok":
            raise InputError(f"backbone {name!r}: expected a vision encoder with a class token")
        self.visual = visual
        self.blocks = _blocks(visual.transformer, "vision", name)
        self.width: int = visual.class_embedding.shape[0]
        height, width = visual.image_size
        if height != width:
            raise InputError(f"backbone {name!r}: expected square images, got {height}x{width}")
        self.image_size: int = height

    def embed(self, frames: Tensor, prompts: Tensor | None) -> Tensor:
        """frames (N, 3, H, W) -> LN_pre of class, patch and prompt tokens (N, L, D)."""
        visual, count = self.visual, frames.shape[0]
        patches = visual.conv1(frames).flatten(2).transpose(1, 2)
        cls = visual.class_embedding.to(patches.dtype).expand(count, 1, -1)
        position = visual.positional_embedding.to(patches.dtype)
        tokens = [cls + position[:1], patches + position[1:]]
        if prompts is not None:
            tokens.append(prompts.to(patches.dtype).expand(count, -1, -1))
        return visual.ln_pre(torch.cat(tokens, 1))

    def project(self, cls: Tensor) -> Tensor:
        """Class tokens (N, D) -> image features (N, E)."""
        return self.visual.ln_post(cls) @ self.visual.proj


class TextTower:
    """A view of open_clip's causal text encoder, whether or not it is a module of its own."""

    def __init__(self, backbone: Any, name: str) -> None:
        text: Any = backbone if hasattr(backbone, "transformer") else backbone.text
        custom = isinstance(text, TextTransformer)
        pool = text.pool_type if custom else getattr(backbone, "text_pool_type", None)
        causal = getattr(text, "attn_mask", None) is not None
        if not causal or pool != "argmax" or getattr(text, "cls_emb", None) is not None:
            raise InputError(
                f"backbone {name!r}: expected a causal text encoder that ends at its "
                "end-of-text token, as CLIP's"
            )
        self.text = text
        self.blocks = _blocks(text.transformer, "text", name)
        self.width: int = text.token_embedding.embedding_dim
        self.context_length: int = text.positional_embedding.shape[0]

    def embed(self, tokens: Tensor, context: Tensor | None) -> Tensor:
        """tokens (C, n) -> (C, n + N, Dt): the context (N, Dt) stands behind the start token."""
        x = self.text.token_embedding(tokens)
        if context is not None:
            learned = context.to(x.dtype).expand(len(tokens), -1, -1)
            x = torch.cat([x[:, :1], learned, x[:, 1:]], 1)
        return x + self.text.positional_embedding[: x.shape[1]].to(x.dtype)

    def project(self, end: Tensor) -> Tensor:
        """End-of-text tokens (C, Dt) -> text features (C, E)."""
        end, projection = self.text.ln_final(end), self.text.text_projection
        return projection(end) if isinstance(projection, nn.Linear) else end @ projection
