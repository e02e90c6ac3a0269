"""A block of a frozen encoder: what its attention adds and what its MLP adds, each by itself."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from typing import Any

import torch
import torch.nn.functional as F
from open_clip.transformer import QuickGELU, ResidualAttentionBlock
from timm.layers import Attention, Mlp, apply_rot_embed_cat
from timm.models.eva import EvaBlock, EvaBlockPostNorm
from timm.models.vision_transformer import Block
from torch import Tensor, nn

from peclip_fast import ops
from peclip_fast.errors import InputError

QKV = Callable[[Tensor], Tensor]  # LN1 x (N, L, D) -> what is added to the product (N, L, 3D)


class FrozenBlock(ABC):
    """x + attend(x), and of that x + feed_forward(x), is the block; norms and scales are within.

    ``heads`` and ``merge`` are the two halves of the attention, before and after the softmax.
    """

    @abstractmethod
    def heads(
        self,
        x: Tensor,
        queries: int | None = None,
        qkv: QKV | None = None,
        backend: str = "auto",
    ) -> tuple[Tensor, Tensor, Tensor]:
        """x (N, L, D) -> q (N, heads, queries or L, d), k and v (N, heads, L, d)."""

    @abstractmethod
    def merge(self, mixed: Tensor, backend: str = "auto") -> Tensor:
        """Values mixed by the softmax, side by side (N, L, heads * d), -> (N, L, D)."""

    @abstractmethod
    def feed_forward(self, x: Tensor, backend: str = "auto") -> Tensor:
        """What the MLP adds: (..., D) -> (..., D)."""

    @abstractmethod
    def norm_2(self, x: Tensor) -> Tensor:
        """What the MLP reads of x, (..., D) -> (..., D)."""

    @abstractmethod
    def product(self, y: Tensor) -> Tensor:
        """The product for queries, keys and values by itself, without biases: (..., D) -> (.., 3D).

        ``attend(x, qkv=lambda y: block.product(f(y)))`` is the attention of y + f(y).
        """

    def without_positions(self) -> FrozenBlock:
        """The block for tokens that aren't those of one frame, which have no places in it."""
        return self

    def attend(
        self,
        x: Tensor,
        *,
        causal: bool = False,
        queries: int | None = None,
        qkv: QKV | None = None,
        backend: str = "auto",
    ) -> Tensor:
        """What the attention adds to all tokens or to the first ``queries``: (N, L, D)."""
        q, k, v = self.heads(x, queries, qkv, backend)
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=causal)
        return self.merge(mixed.transpose(1, 2).flatten(2), backend)

    def attend_with_maps(self, x: Tensor, qkv: QKV | None = None) -> tuple[Tensor, Tensor]:
        """attend() as the formula reads: (N, L, D) -> (N, L, D), and the maps (N, heads, L, L)."""
        q, k, v = self.heads(x, qkv=qkv, backend="reference")
        maps = attention_maps(q, k)
        return self.merge((maps @ v).transpose(1, 2).flatten(2), "reference"), maps


def attention_maps(q: Tensor, k: Tensor) -> Tensor:
    """softmax(q k' / sqrt(d)): (N, heads, Q, d) and (N, heads, L, d) -> (N, heads, Q, L)."""
    return (q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])).softmax(-1)


class PlainBlock(FrozenBlock):
    """One product for queries, keys and values, and an MLP of two: ``peclip_fast.ops`` computes it.

    Args:
        attn: the attention's module, with ``num_heads``.
        out: its last product.
        norms, scales: before and after the attention and the MLP.
        mlp: the MLP's module, and in it the first product, the activation and the second product.
    """

    def __init__(
        self,
        attn: Any,
        out: Any,
        norms: tuple[nn.Module, nn.Module],
        scales: tuple[nn.Module, nn.Module],
        mlp: tuple[Any, Any, Any, Any],
    ) -> None:
        self.attn, self.out = attn, out
        self.norm_1, self._norm_2 = norms
        self.scale_1, self.scale_2 = scales
        self.mlp, self.mlp_in, self.activation, self.mlp_out = mlp

    @abstractmethod
    def packed(self) -> tuple[Tensor, Tensor]:
        """Weight (3D, D) and bias (3D,) of queries, keys and values."""

    def heads(
        self,
        x: Tensor,
        queries: int | None = None,
        qkv: QKV | None = None,
        backend: str = "auto",
    ) -> tuple[Tensor, Tensor, Tensor]:
        """See FrozenBlock."""
        y, (weight, bias), width = self.norm_1(x), self.packed(), x.shape[-1]
        q = ops.linear(y[:, :queries], weight[:width], bias[:width], backend=backend)
        kv = ops.linear(y, weight[width:], bias[width:], backend=backend)
        if qkv is not None:
            added = qkv(y).to(q.dtype)
            q, kv = q + added[:, :queries, :width], kv + added[..., width:]
        q, k, v = (q, *kv.chunk(2, -1))
        q, k, v = (t.unflatten(-1, (self.attn.num_heads, -1)).transpose(1, 2) for t in (q, k, v))
        return q, k, v

    def product(self, y: Tensor) -> Tensor:
        """See FrozenBlock."""
        return F.linear(y, self.packed()[0])

    def merge(self, mixed: Tensor, backend: str = "auto") -> Tensor:
        """See FrozenBlock."""
        y = ops.linear(mixed, self.out.weight, self.out.bias, backend=backend)
        return self.scale_1(y)

    def attend(
        self,
        x: Tensor,
        *,
        causal: bool = False,
        queries: int | None = None,
        qkv: QKV | None = None,
        backend: str = "auto",
    ) -> Tensor:
        """See FrozenBlock."""
        if queries is not None:
            return super().attend(x, causal=causal, queries=queries, qkv=qkv, backend=backend)
        y = self.norm_1(x)
        packed = ops.linear(y, *self.packed(), backend=backend)
        if qkv is not None:
            packed = packed + qkv(y).to(packed.dtype)
        mixed = ops.attention(packed, self.attn.num_heads, causal=causal, backend=backend)
        return self.merge(mixed, backend)

    def feed_forward(self, x: Tensor, backend: str = "auto") -> Tensor:
        """See FrozenBlock."""
        y, first, second = self._norm_2(x), self.mlp_in, self.mlp_out
        activation = _ACTIVATIONS.get(type(self.activation))
        if activation is None or getattr(self.activation, "approximate", "none") != "none":
            return self.scale_2(self.mlp(y))
        weights = first.weight, first.bias, second.weight, second.bias
        return self.scale_2(ops.feed_forward(y, *weights, activation, backend=backend))

    def norm_2(self, x: Tensor) -> Tensor:
        """See FrozenBlock."""
        normed: Tensor = self._norm_2(x)
        return normed


_ACTIVATIONS = {QuickGELU: "quick_gelu", nn.GELU: "gelu"}


class CLIPBlock(PlainBlock):
    """open_clip's ResidualAttentionBlock."""

    def __init__(self, block: Any) -> None:
        attn, mlp = block.attn, block.mlp
        super().__init__(
            attn,
            attn.out_proj,
            (block.ln_1, block.ln_2),
            (block.ls_1, block.ls_2),
            (mlp, mlp.c_fc, mlp.gelu, mlp.c_proj),
        )

    def packed(self) -> tuple[Tensor, Tensor]:
        """See PlainBlock."""
        return self.attn.in_proj_weight, self.attn.in_proj_bias


class ViTBlock(PlainBlock):
    """timm's Block, where its attention and MLP have nothing else in them."""

    def __init__(self, block: Any) -> None:
        attn, mlp = block.attn, block.mlp
        super().__init__(
            attn,
            attn.proj,
            (block.norm1, block.norm2),
            (block.ls1, block.ls2),
            (mlp, mlp.fc1, mlp.act, mlp.fc2),
        )

    @staticmethod
    def fits(block: Any) -> bool:
        """Whether that is so."""
        attn, mlp = block.attn, block.mlp
        if type(attn) is not Attention or type(mlp) is not Mlp:
            return False
        extras = attn.q_norm, attn.k_norm, getattr(attn, "norm", None), mlp.norm
        biases = attn.qkv.bias, attn.proj.bias, mlp.fc1.bias, mlp.fc2.bias
        return all(m is None or isinstance(m, nn.Identity) for m in extras) and all(
            bias is not None for bias in biases
        )

    def packed(self) -> tuple[Tensor, Tensor]:
        """See PlainBlock."""
        return self.attn.qkv.weight, self.attn.qkv.bias


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
    ) -> tuple[Tensor, Tensor, Tensor]:
        """See FrozenBlock; the backend is PyTorch."""
        attn, y = self.block.attn, x if self.post_norm else self.block.norm1(x)
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

    def feed_forward(self, x: Tensor, backend: str = "auto") -> Tensor:
        """See FrozenBlock; the backend is PyTorch."""
        return self._behind(self.block.mlp(self.norm_2(x)), 2)

    def norm_2(self, x: Tensor) -> Tensor:
        """See FrozenBlock."""
        normed: Tensor = x if self.post_norm else self.block.norm2(x)
        return normed

    def _behind(self, y: Tensor, place: int) -> Tensor:
        """The norm or the scale after the attention (1) or the MLP (2)."""
        if self.post_norm:
            return getattr(self.block, f"norm{place}")(y)
        if isinstance(self.block, EvaBlock):
            gamma = getattr(self.block, f"gamma_{place}")
            return y if gamma is None else gamma * y
        return getattr(self.block, f"ls{place}")(y)


def clip_blocks(blocks: Iterable[nn.Module], tower: str, name: str) -> list[FrozenBlock]:
    """open_clip's blocks, or InputError that names their kind."""
    found = list(blocks)
    if not all(isinstance(block, ResidualAttentionBlock) for block in found):
        raise other_blocks(found, tower, name, "open_clip's ResidualAttentionBlock")
    return [CLIPBlock(block) for block in found]


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


def other_blocks(blocks: list[Any], tower: str, name: str, expected: str) -> InputError:
    """What to raise for blocks of another kind."""
    return InputError(
        f"backbone {name!r}: its {tower} encoder has blocks of the kind "
        f"{type(blocks[0]).__name__}; expected {expected}"
    )
