"""The vision encoder once more, with its attention maps and the TDA's scales kept.

The model's own path has no maps: its attention is fused, and its last block computes the class
token alone where that is the feature. Here the softmax is written out and every token is computed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from peclip_fast.models.adapted_clip import AdaptedCLIP
from peclip_fast.models.methods.pe_clip import PECLIP
from peclip_fast.models.towers import vision_tower


@dataclass(frozen=True)
class Trace:
    """What happened to the T frames of one clip, of L tokens each: class, patches, prompts.

    Args:
        maps: of each block, (T, heads, L, L): what the row's token takes from the column's. The
            tensors stand in the graph of ``features``, unless gradients are off. Pooling behind
            the blocks is one more, (T, heads, 1, L).
        renewed: of each map, how many prompts at the end are put in anew at its input.
        scales: of each block, the s of its TDA, (T, L); empty where the model has none.
        features: (T, E), of each frame, not normalized; of the first t frames they are the same
            without the others, as the TDA walks forward and FineCLIPER's adapters don't walk.
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
    tower = vision_tower(model.backbone, model.config.backbone)
    context, sites = model.frame_context(), model.frame_sites(len(frames))
    x = tower.embed(model.pixels(frames), context[0] if context else None)
    tokens = len(context[0]) if context else 0
    # Without prompts nothing in front of the first map asks for gradients.
    x = x.detach().requires_grad_(torch.is_grad_enabled())
    maps, renewed, scales = [], [], []
    for i, block in enumerate(tower.blocks):
        new = tokens if 0 < i < len(context) else 0
        if new:
            x = torch.cat([x[:, :-new], context[i].to(x.dtype).expand(len(x), -1, -1)], 1)
        a, probabilities = block.attend_with_maps(x)
        x = sites.attention(i, a, x)
        m = block.feed_forward(x, "reference")
        if isinstance(model, PECLIP) and model.temporal is not None:
            adapter: Any = model.temporal[i]
            if adapter.scale is not None:
                scales.append(F.relu(adapter.scale(adapter.norm(m))).squeeze(-1))
        x = sites.feed_forward(i, m, x)
        maps.append(probabilities)
        renewed.append(new)
    features, pooling = tower.project_with_maps(x)
    if pooling is not None:
        maps.append(pooling)
        renewed.append(0)
    patches, prefix = tower.patches, tower.prefix
    return Trace(maps, renewed, scales, features, patches, prefix, pooling is None)
