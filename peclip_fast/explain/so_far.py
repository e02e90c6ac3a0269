"""What a model makes of a clip's first frame, its first two, and so on to the whole clip."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from peclip_fast.models.adapted_clip import AdaptedCLIP


def clips_so_far(
    model: AdaptedCLIP, frames: Tensor, features: Tensor, others: Mapping[str, Tensor]
) -> Tensor:
    """The features (T, E) that the model has of the clips that end at each frame.

    The last one is in the graph of ``features``.

    Args:
        model: in eval mode.
        frames: (T, 3, H, W).
        features: of the frames in the whole clip, (T, E).
        others: what else the model sees of the clip, as explain_clip() takes it.
    """
    found = model.clips_so_far(features, others)
    if not model.looks_ahead:
        return found
    # Each frame has another feature in a shorter clip, so all of these are encoded anew.
    shorter = []
    with torch.no_grad():
        for end in range(1, len(frames)):
            cut = {n: (x if x.ndim == 1 else x[:end])[None] for n, x in others.items()}
            shorter.append(model.encode_clips(frames[None, :end], **cut))
    return torch.cat([*shorter, found[-1:]])
