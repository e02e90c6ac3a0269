"""The vision encoder once more, with its attention maps and the TDA's scales kept.

The model's own path has no maps: its attention is fused, and its last block computes the class
token alone. Here the softmax is written out and every token is computed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from peclip_fast.models import PEClip
from peclip_fast.models.towers import VisionTower, feed_forward


@dataclass(frozen=True)
class Trace:
    """What happened to the T frames of one clip, of L tokens each: class, patches, prompts.

    Args:
        maps: of each block, (T, heads, L, L): what the row's token takes from the column's. The
            tensors stand in the graph of ``features``, unless gradients are off.
        renewed: of each block, how many prompts at the end are put in anew at its input.
        scales: of each block, the s of its TDA, (T, L); empty where the model has none.
        features: (T, E), of each frame, not normalized; of the first t frames they are the same
            without the others, as the TDA walks forward.
        patches: number of patch tokens.
    """

    maps: list[Tensor]
    renewed: list[int]
    scales: list[Tensor]
    features: Tensor
    patches: int


def trace(model: PEClip, frames: Tensor) -> Trace:
    """Run the vision encoder of ``model`` over a clip.

    Args:
        model: in eval mode.
        frames: (T, 3, H, W), float in [0, 1] or uint8, on the model's device.
    """
    tower = VisionTower(model.backbone, model.config.backbone)
    context = model.prompts.for_vision() if model.prompts is not None else []
    x = tower.embed(model.pixels(frames), context[0] if context else None)
    tokens = len(context[0]) if context else 0
    patches = x.shape[1] - 1 - tokens
    # Without prompts nothing in front of the first map asks for gradients.
    x = x.detach().requires_grad_(torch.is_grad_enabled())
    maps, renewed, scales = [], [], []
    for i, block in enumerate(tower.blocks):
        new = tokens if 0 < i < len(context) else 0
        if new:
            x = torch.cat([x[:, :-new], context[i].to(x.dtype).expand(len(x), -1, -1)], 1)
        a, probabilities = attend(block, x)
        x = x + a if model.shared_vision is None else model.shared_vision[i](a, x)
        m = feed_forward(block, x, "reference")
        if model.temporal is None:
            x = x + m
        else:
            adapter: Any = model.temporal[i]
            if adapter.scale is not None:
                scales.append(F.relu(adapter.scale(adapter.norm(m))).squeeze(-1))
            x = adapter(m[None], x[None])[0]
        maps.append(probabilities)
        renewed.append(new)
    return Trace(maps, renewed, scales, tower.project(x[:, 0]), patches)


def attend(block: Any, x: Tensor) -> tuple[Tensor, Tensor]:
    """MHSA(LN1(x)) as the formula reads: x (N, L, D) -> (N, L, D), and maps (N, heads, L, L)."""
    attn = block.attn
    qkv = F.linear(block.ln_1(x), attn.in_proj_weight, attn.in_proj_bias)
    q, k, v = qkv.unflatten(-1, (3, attn.num_heads, -1)).permute(2, 0, 3, 1, 4)
    maps = (q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])).softmax(-1)
    heads = (maps @ v).transpose(1, 2).flatten(2)
    return block.ls_1(attn.out_proj(heads)), maps
