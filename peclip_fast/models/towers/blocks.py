"""A block of a frozen encoder: what its attention adds and what its MLP adds, each by itself."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from typing import Any

import torch.nn.functional as F
from open_clip.transformer import QuickGELU, ResidualAttentionBlock
from timm.layers import Attention, Mlp
from torch import Tensor, nn

from peclip_fast import ops
from peclip_fast.errors import InputError
from peclip_fast.ops.layer_norm import put

QKV = Callable[[Tensor], Tensor]  # LN1 x (N, L, D) -> what is added to the product (N, L, 3D)


class FrozenBlock(ABC):
    """x + attend(x), and of that x + feed_forward(x), is the block; norms and scales are within.

    ``heads`` and ``merge`` are the two halves of the attention, before and after the softmax.
    Who has what ``before_attention`` and ``before_mlp`` give besides x hands it on as ``normed``.
    """

    @abstractmethod
    def before_attention(
        self,
        x: Tensor,
        added: Tensor | None = None,
        learned: Tensor | None = None,
        start: int = 0,
        backend: str = "auto",
    ) -> tuple[Tensor, Tensor]:
        """x + added (N, L, D) with ``learned`` (P, D) or (N, P, D) in the place of the tokens from
        ``start`` on, and what the attention reads of it, the same shape."""

    @abstractmethod
    def before_mlp(
        self, x: Tensor, added: Tensor | None = None, backend: str = "auto"
    ) -> tuple[Tensor, Tensor]:
        """x + added (..., D), and what the MLP reads of it, the same shape."""

    @abstractmethod
    def heads(
        self,
        x: Tensor,
        queries: int | None = None,
        qkv: QKV | None = None,
        backend: str = "auto",
        normed: Tensor | None = None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """x (N, L, D) -> q (N, heads, queries or L, d), k and v (N, heads, L, d)."""

    @abstractmethod
    def merge(self, mixed: Tensor, backend: str = "auto") -> Tensor:
        """Values mixed by the softmax, side by side (N, L, heads * d), -> (N, L, D)."""

    @abstractmethod
    def feed_forward(
        self, x: Tensor, backend: str = "auto", normed: Tensor | None = None
    ) -> Tensor:
        """What the MLP adds: (..., D) -> (..., D)."""

    def norm_2(self, x: Tensor, backend: str = "auto") -> Tensor:
        """What the MLP reads of x, (..., D) -> (..., D)."""
        return self.before_mlp(x, backend=backend)[1]

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
        normed: Tensor | None = None,
    ) -> Tensor:
        """What the attention adds to all tokens or to the first ``queries``: (N, L, D)."""
        q, k, v = self.heads(x, queries, qkv, backend, normed)
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=causal)
        return self.merge(mixed.transpose(1, 2).flatten(2), backend)

    def attend_with_maps(
        self, x: Tensor, qkv: QKV | None = None, normed: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """attend() as the formula reads: (N, L, D) -> (N, L, D), and the maps (N, heads, L, L)."""
        q, k, v = self.heads(x, qkv=qkv, backend="reference", normed=normed)
        maps = attention_maps(q, k)
        return self.merge((maps @ v).transpose(1, 2).flatten(2), "reference"), maps


def attention_maps(q: Tensor, k: Tensor) -> Tensor:
    """softmax(q k' / sqrt(d)): (N, heads, Q, d) and (N, heads, L, d) -> (N, heads, Q, L)."""
    return (q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])).softmax(-1)


NO_NORM = nn.Identity()


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

    def before_attention(
        self,
        x: Tensor,
        added: Tensor | None = None,
        learned: Tensor | None = None,
        start: int = 0,
        backend: str = "auto",
    ) -> tuple[Tensor, Tensor]:
        """See FrozenBlock."""
        return summed_and_normed(self.norm_1, x, added, learned, start, backend)

    def before_mlp(
        self, x: Tensor, added: Tensor | None = None, backend: str = "auto"
    ) -> tuple[Tensor, Tensor]:
        """See FrozenBlock."""
        return summed_and_normed(self._norm_2, x, added, backend=backend)

    def heads(
        self,
        x: Tensor,
        queries: int | None = None,
        qkv: QKV | None = None,
        backend: str = "auto",
        normed: Tensor | None = None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """See FrozenBlock."""
        y = self.before_attention(x, backend=backend)[1] if normed is None else normed
        (weight, bias), width = self.packed(), x.shape[-1]
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
        normed: Tensor | None = None,
    ) -> Tensor:
        """See FrozenBlock."""
        y = self.before_attention(x, backend=backend)[1] if normed is None else normed
        if queries is not None:
            return super().attend(
                x, causal=causal, queries=queries, qkv=qkv, backend=backend, normed=y
            )
        packed = ops.linear(y, *self.packed(), backend=backend)
        if qkv is not None:
            packed = packed + qkv(y).to(packed.dtype)
        mixed = ops.attention(packed, self.attn.num_heads, causal=causal, backend=backend)
        return self.merge(mixed, backend)

    def feed_forward(
        self, x: Tensor, backend: str = "auto", normed: Tensor | None = None
    ) -> Tensor:
        """See FrozenBlock."""
        y = self.norm_2(x, backend) if normed is None else normed
        first, second = self.mlp_in, self.mlp_out
        activation = _ACTIVATIONS.get(type(self.activation))
        if activation is None or getattr(self.activation, "approximate", "none") != "none":
            return self.scale_2(self.mlp(y))
        weights = first.weight, first.bias, second.weight, second.bias
        return self.scale_2(ops.feed_forward(y, *weights, activation, backend=backend))


_ACTIVATIONS = {QuickGELU: "quick_gelu", nn.GELU: "gelu"}


def summed_and_normed(
    norm: nn.Module,
    x: Tensor,
    added: Tensor | None = None,
    learned: Tensor | None = None,
    start: int = 0,
    backend: str = "auto",
) -> tuple[Tensor, Tensor]:
    """What FrozenBlock.before_attention gives, with a norm of any kind.

    A LayerNorm goes to the operator, unless somebody's hooks wait for the module to be called.
    """
    hooked = norm._forward_hooks or norm._forward_pre_hooks
    if isinstance(norm, nn.LayerNorm) and norm.bias is not None and not hooked:
        return ops.layer_norm(
            x, norm.weight, norm.bias, added,
            learned=learned, start=start, eps=norm.eps, backend=backend,
        )  # fmt: skip
    x = x if added is None else x + added
    x = x if learned is None else put(x, learned, start)
    return x, norm(x)


def normed(norm: nn.Module, x: Tensor, backend: str) -> Tensor:
    """norm(x), by the operator where it is a LayerNorm."""
    return summed_and_normed(norm, x, backend=backend)[1]


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


def clip_blocks(blocks: Iterable[nn.Module], tower: str, name: str) -> list[FrozenBlock]:
    """open_clip's blocks, or InputError that names their kind."""
    found = list(blocks)
    if not all(isinstance(block, ResidualAttentionBlock) for block in found):
        raise other_blocks(found, tower, name, "open_clip's ResidualAttentionBlock")
    return [CLIPBlock(block) for block in found]


def other_blocks(blocks: list[Any], tower: str, name: str, expected: str) -> InputError:
    """What to raise for blocks of another kind."""
    return InputError(
        f"backbone {name!r}: its {tower} encoder has blocks of the kind "
        f"{type(blocks[0]).__name__}; expected {expected}"
    )
