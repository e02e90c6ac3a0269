"""The vision encoders: open_clip's own VisionTransformer, and timm's VisionTransformer and Eva."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import open_clip
import torch
import torch.nn.functional as F
from open_clip.timm_model import TimmModel
from open_clip.transformer import VisionTransformer
from timm.models import eva, vision_transformer
from torch import Tensor, nn

from peclip_fast.errors import InputError
from peclip_fast.models.towers.blocks import attention_maps, clip_blocks, normed
from peclip_fast.models.towers.timm_block import timm_blocks
from peclip_fast.models.towers.tower import Tower
from peclip_fast.ops.dtypes import product_dtype
from peclip_fast.ops.products import computed_in


class VisionTower(Tower):
    """A view of a vision encoder; its tokens are ``prefix``, patches, prompts.

    The feature of a frame is what the backbone's own head makes of its tokens: of the class token;
    of the patches' mean, without the prompts; or of all tokens by attention pooling, which sees the
    prompts as a class token does.

    Attributes:
        blocks: the frozen blocks.
        width: D.
        image_size: height and width of the frames, in pixels.
        prefix: tokens in front of the patches: 1 with a class token, 0 without.
        patches: their number, of a square.
        queries: of how many leading tokens the last block's output is used: 1, where the class
            token is the feature; None, where all are.
        mean, std: of the pixels in [0, 1] that the backbone was trained on, for each channel.
    """

    prefix: int
    queries: int | None

    def __init__(self, visual: Any, image_size: Any, grid: Any, name: str) -> None:
        self.visual = visual
        height, width = image_size
        if height != width:
            raise InputError(f"backbone {name!r}: expected square images, got {height}x{width}")
        self.image_size: int = height
        self.patches: int = grid[0] * grid[1]
        mean = getattr(visual, "image_mean", None) or open_clip.OPENAI_DATASET_MEAN
        std = getattr(visual, "image_std", None) or open_clip.OPENAI_DATASET_STD
        self.mean, self.std = tuple(mean), tuple(std)

    @property
    @abstractmethod
    def dtype(self) -> torch.dtype:
        """Of the frames that embed() takes."""

    @property
    @abstractmethod
    def last_norm(self) -> tuple[str, ...]:
        """The backbone's tensors of the norm after the blocks, as patterns of fnmatch."""

    @abstractmethod
    def embed(
        self,
        frames: Tensor,
        prompts: Tensor | None,
        shift: Tensor | None = None,
        backend: str = "auto",
    ) -> Tensor:
        """The first block's input (N, L, D).

        Args:
            frames: (N, 3, H, W).
            prompts: (P, D).
            shift: (N, 1, D) or what broadcasts to (N, prefix + patches, D), added where positions
                are: to the class token and the patches.
            backend: of the operators.
        """

    def prompts_at(self, tokens: int, prompts: int) -> int:
        """See Tower."""
        return tokens - prompts

    @abstractmethod
    def pool(self, x: Tensor) -> Tensor:
        """The last block's output (N, ``queries`` or L, D) -> pooled features (N, D)."""

    @abstractmethod
    def product(self, pooled: Tensor) -> Tensor:
        """Pooled features (N, D) -> image features (N, E), in the space shared with the texts."""

    def project(self, x: Tensor) -> Tensor:
        """The last block's output (N, ``queries`` or L, D) -> image features (N, E)."""
        return self.product(self.pool(x))

    def pool_with_maps(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """pool(), and what it takes of each token (N, heads, 1, L); None for the class token.

        A mean is the product with a map of one head, so that this has gradients too.
        """
        if self.queries is not None:
            return self.pool(x), None
        shares = torch.zeros(x.shape[0], 1, 1, x.shape[1]).to(x)
        shares[..., self.prefix : self.prefix + self.patches] = 1 / self.patches
        shares.requires_grad_(torch.is_grad_enabled())
        return self.pool_mean(x, shares[:, 0]), shares

    @abstractmethod
    def pool_mean(self, x: Tensor, shares: Tensor) -> Tensor:
        """Tokens (N, L, D) of which (N, 1, L) are taken -> pooled features (N, D)."""


class CLIPVision(VisionTower):
    """open_clip's own VisionTransformer, by its class token or by its patches' mean (CLIPA)."""

    def __init__(self, visual: Any, name: str) -> None:
        super().__init__(visual, visual.image_size, visual.grid_size, name)
        if visual.attn_pool is not None or visual.pool_type not in ("tok", "avg"):
            raise InputError(
                f"backbone {name!r}: its vision encoder has CoCa's attentional pooling; expected "
                "a class token or the patches' mean"
            )
        self.blocks = clip_blocks(visual.transformer.resblocks, "vision", name)
        self.width = visual.class_embedding.shape[0]
        self.prefix = 1
        self.queries = 1 if visual.pool_type == "tok" else None

    @property
    def dtype(self) -> torch.dtype:
        """See VisionTower."""
        return self.visual.conv1.weight.dtype

    @property
    def last_norm(self) -> tuple[str, ...]:
        """See VisionTower."""
        return ("visual.ln_post.*",)

    def embed(
        self,
        frames: Tensor,
        prompts: Tensor | None,
        shift: Tensor | None = None,
        backend: str = "auto",
    ) -> Tensor:
        """See VisionTower."""
        visual, count = self.visual, frames.shape[0]
        patches = convolved(visual.conv1, frames, backend).flatten(2).transpose(1, 2)
        cls = visual.class_embedding.to(patches.dtype).expand(count, 1, -1)
        position = visual.positional_embedding.to(patches.dtype)
        if shift is not None:
            position = position + shift.to(patches.dtype)
        tokens = [cls + position[..., :1, :], patches + position[..., 1:, :]]
        if prompts is not None:
            tokens.append(prompts.to(patches.dtype).expand(count, -1, -1))
        return normed(visual.ln_pre, torch.cat(tokens, 1), backend)

    def pool(self, x: Tensor) -> Tensor:
        """See VisionTower."""
        visual = self.visual
        if self.queries is not None:
            return visual.ln_post(x[:, 0])
        patches = x[:, 1 : 1 + self.patches]
        if visual.final_ln_after_pool:
            return visual.ln_post(patches.mean(1))
        return visual.ln_post(patches).mean(1)

    def product(self, pooled: Tensor) -> Tensor:
        """See VisionTower."""
        return pooled @ self.visual.proj

    def pool_mean(self, x: Tensor, shares: Tensor) -> Tensor:
        """See VisionTower."""
        visual = self.visual
        if visual.final_ln_after_pool:
            return visual.ln_post((shares @ x)[:, 0])
        return (shares @ visual.ln_post(x))[:, 0]


def convolved(conv: nn.Module, frames: Tensor, backend: str) -> Tensor:
    """conv(frames); in float32 where nothing multiplies the dtype of the products: PyTorch's own
    convolution takes many times as long there."""
    dtype = product_dtype(frames)
    if backend == "reference" or frames.device.type != "cpu" or computed_in(dtype) == dtype:
        return conv(frames)
    with torch.autocast("cpu", enabled=False):
        return conv(frames.float()).to(dtype)


class TimmVision(VisionTower):
    """timm's VisionTransformer (SigLIP) or Eva (EVA-CLIP, PE-Core) in open_clip's TimmModel."""

    def __init__(self, visual: Any, name: str) -> None:
        trunk = visual.trunk
        if type(trunk) not in (vision_transformer.VisionTransformer, eva.Eva):
            raise InputError(
                f"backbone {name!r}: its vision encoder is timm's {type(trunk).__name__}; expected "
                "timm's VisionTransformer or Eva"
            )
        pool = trunk.global_pool
        mixed = trunk.dynamic_img_size or getattr(trunk, "rope_mixed", False)
        if pool not in ("token", "map", "avg") or mixed or hasattr(visual.head, "pool"):
            raise InputError(
                f"backbone {name!r}: its vision encoder pools by {pool!r}, or has images or "
                "positions of changing size; expected the pooling token, map or avg, and one size"
            )
        embedding = trunk.patch_embed
        super().__init__(visual, embedding.img_size, embedding.grid_size, name)
        self.trunk = trunk
        self.blocks = timm_blocks(trunk, name)
        self.width = trunk.embed_dim
        self.prefix = trunk.num_prefix_tokens
        self.queries = 1 if pool == "token" else None

    @property
    def dtype(self) -> torch.dtype:
        """See VisionTower."""
        return self.trunk.blocks[0].attn.proj.weight.dtype

    @property
    def last_norm(self) -> tuple[str, ...]:
        """See VisionTower; it may stand before or after the pooling."""
        norms = {"norm": self.trunk.norm, "fc_norm": self.trunk.fc_norm}
        return tuple(f"visual.trunk.{n}.*" for n, norm in norms.items() if list(norm.parameters()))

    def embed(
        self,
        frames: Tensor,
        prompts: Tensor | None,
        shift: Tensor | None = None,
        backend: str = "auto",
    ) -> Tensor:
        """See VisionTower."""
        trunk = self.trunk
        x = trunk._pos_embed(trunk.patch_embed(frames))
        x = x[0] if isinstance(x, tuple) else x  # Eva's rotary positions are the blocks' own
        if shift is not None:
            x = x + shift.to(x.dtype)
        if prompts is not None:
            x = torch.cat([x, prompts.to(x.dtype).expand(x.shape[0], -1, -1)], 1)
        return trunk.norm_pre(x)

    def pool(self, x: Tensor) -> Tensor:
        """See VisionTower."""
        trunk = self.trunk
        if trunk.attn_pool is None:
            x = x[:, : self.prefix + self.patches]
        return trunk.forward_head(trunk.norm(x), pre_logits=True)

    def product(self, pooled: Tensor) -> Tensor:
        """See VisionTower."""
        return self.visual.head(self.trunk.head(pooled))

    def pool_with_maps(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """See VisionTower."""
        trunk, pool = self.trunk, self.trunk.attn_pool
        if pool is None:
            return super().pool_with_maps(x)
        x = trunk.norm(x)
        # timm's VisionTransformer keeps its leading tokens from the pooling, Eva doesn't.
        left = 0 if getattr(trunk, "pool_include_prefix", True) else self.prefix
        q, kv = pool.q(pool.latent), pool.kv(x[:, left:])
        q, k, v = (
            t.unflatten(-1, (pool.num_heads, -1)).transpose(1, 2) for t in (q, *kv.chunk(2, -1))
        )
        maps = F.pad(attention_maps(pool.q_norm(q), pool.k_norm(k)), (left, 0))
        y = pool.proj((maps[..., left:] @ v).transpose(1, 2).flatten(2))
        y = (y + pool.mlp(pool.norm(y)))[:, 0]
        return trunk.head_drop(trunk.fc_norm(y)), maps

    def pool_mean(self, x: Tensor, shares: Tensor) -> Tensor:
        """See VisionTower."""
        trunk = self.trunk
        return trunk.head_drop(trunk.fc_norm((shares @ trunk.norm(x))[:, 0]))


def vision_tower(backbone: Any, name: str) -> VisionTower:
    """The tower of a backbone, or InputError that names what can't be taken."""
    visual = backbone.visual
    if isinstance(visual, VisionTransformer):
        return CLIPVision(visual, name)
    if isinstance(visual, TimmModel):
        return TimmVision(visual, name)
    raise InputError(
        f"backbone {name!r}: its vision encoder is a {type(visual).__name__}; expected a ViT "
        "(ViT-B-16, EVA02-B-16, ViT-B-16-SigLIP, ...)"
    )
