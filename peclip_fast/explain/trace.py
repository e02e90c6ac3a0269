"""The vision encoder once more, with its attention maps and the temporal adapters' scales kept.

The model's own path has no maps: its attention is fused, and its last block computes only the class
token where that is the feature. Here the softmax is written out and every token is computed.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from peclip_fast.models.adapted_clip import AdaptedCLIP
from peclip_fast.models.encoders import context_length
from peclip_fast.models.hooks import Hooks
from peclip_fast.models.towers import vision_tower


@dataclass(frozen=True)
class Trace:
    """What happened to the T frames of one clip, of L tokens each: class, patches, prompts.

    Args:
        maps: of each block, (T, heads, L, L): what the row's token takes from the column's. The
            tensors are in the graph of ``features``, unless gradients are off. Pooling after
            the blocks is one more, (T, heads, 1, L).
        renewed: of each map, how many prompts at the end are put in anew at its input.
        scales: of each block, its frame_scales(), (T, L); empty where the model has none.
        features: (T, E), of each frame, not normalized.
        patches: number of patch tokens.
        prefix: number of tokens in front of them: 1 with a class token, 0 without.
        class_token: whether the class token is the feature; otherwise a pooling's map is the last.
    """

    maps: list[Tensor]
    renewed: list[int]
    scales: list[Tensor]
    features: Tensor
    patches: int
    prefix: int = 1
    class_token: bool = True

    @property
    def blocks(self) -> int:
        """How many of the maps are blocks'."""
        return len(self.maps) - (not self.class_token)


def trace(model: AdaptedCLIP, frames: Tensor) -> Trace:
    """Run the vision encoder of ``model`` over a clip.

    Args:
        model: in eval mode.
        frames: (T, 3, H, W), float in [0, 1] or uint8, on the model's device.
    """
    tower, length = vision_tower(model.backbone, model.config.backbone), len(frames)
    maps: list[Tensor] = []
    scales: list[Tensor] = []
    blocks = len(tower.blocks)
    context = model.frame_context()
    first = context[0] if context else None
    x = tower.embed(model.pixels(frames), first, model.frame_shift(length))
    # Without prompts nothing in front of the first map asks for gradients.
    x = x.detach().requires_grad_(torch.is_grad_enabled())
    hooks = _with_scales(model, length, scales)
    x = tower.walk(x, hooks, context, backend="reference", maps=maps)
    pooled, pooling = tower.pool_with_maps(x)
    renewed = [context_length(context) if 0 < i < len(context) else 0 for i in range(blocks)]
    if pooling is not None:
        maps.append(pooling)
        renewed.append(0)
    features, patches = model.project(pooled), tower.patches
    return Trace(maps, renewed, scales, features, patches, tower.prefix, pooling is None)


def _with_scales(model: AdaptedCLIP, length: int, scales: list[Tensor]) -> Hooks:
    """The model's hooks, which note its frame_scales()."""
    hooks = model.frame_hooks(length)

    def feed_forward(i: int, m: Tensor, x: Tensor) -> Tensor:
        found = model.frame_scales(i, m)
        if found is not None:
            scales.append(found)
        return x + m if hooks.feed_forward is None else hooks.feed_forward(i, m, x)

    return hooks._replace(feed_forward=feed_forward)
