"""Attention followed through all blocks, from a frame's feature back to the patches.

The feature is the class token's, or what the pooling after the blocks takes of all tokens.

Both ways follow each frame by itself: what the TDA carries from frame to frame is no path in them,
though the gradients do come through it.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from peclip_fast.explain.trace import Trace


def attention_rollout(trace: Trace) -> Tensor:
    """The share of each input token in the feature, (T, L); a row's sum is 1.

    Abnar and Zuidema, 2020 (arXiv 2005.00928), section 3: of each block half of the mean map over
    the heads, and half of the identity for the residual; the blocks' matrices multiplied.
    """
    means = [maps.mean(1) for maps in trace.maps]
    identity = torch.eye(means[0].shape[-1]).to(means[0])
    steps = [(mean + identity) / 2 for mean in means[: trace.blocks]]
    return _roll(steps + means[trace.blocks :], trace.renewed)


def gradient_rollout(trace: Trace, gradients: Sequence[Tensor]) -> Tensor:
    """What each input token does for a class by way of the feature, (T, L), at least 0.

    Chefer, Gur and Wolf, 2021 (arXiv 2103.15679), equations 5 and 6: R <- R + A R from the
    identity, A the mean over the heads of map times gradient where that is positive. Pooling
    after the blocks keeps no token, so there it is R <- A R.

    Args:
        trace: of the clip.
        gradients: of the class's logit, for each of ``trace.maps`` in its shape.
    """
    pairs = zip(trace.maps, gradients, strict=True)
    gains = [(maps * gradient).clamp_min(0).mean(1) for maps, gradient in pairs]
    identity = torch.eye(gains[0].shape[-1]).to(gains[0])
    steps = [identity + gain for gain in gains[: trace.blocks]]
    return _roll(steps + gains[trace.blocks :], trace.renewed)


def _roll(steps: Sequence[Tensor], renewed: Sequence[int]) -> Tensor:
    """Row 0 of the product of steps (T, L, L), the last at the left: (T, L).

    A last step (T, 1, L) is that of pooling.

    Prompts that are put in anew stem from no token of the blocks before: their rows of what has
    been multiplied so far become rows of the identity.
    """
    identity = torch.eye(steps[0].shape[-1]).to(steps[0]).expand_as(steps[0])
    reached = identity
    for step, new in zip(steps, renewed, strict=True):
        kept = step.shape[-1] - new
        reached = step @ torch.cat([reached[:, :kept], identity[:, kept:]], 1)
    return reached[:, 0]


def on_patches(rolled: Tensor, trace: Trace) -> Tensor:
    """The patches' part of (T, L), as they lie in the frame: (T, g, g) with g * g patches."""
    side = round(trace.patches**0.5)
    patches = rolled[:, trace.prefix : trace.prefix + trace.patches]
    return patches.unflatten(1, (side, side))
