"""What a model makes of a clip's first frame, its first two, and so on to the whole clip."""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from peclip_fast.models.adapted_clip import AdaptedCLIP
from peclip_fast.models.methods.finecliper import FineCLIPER


def clips_so_far(model: AdaptedCLIP, frames: Tensor, others: Mapping[str, Tensor]) -> Tensor:
    """The features (T, E) that the model has of the clips that end at each frame, of length 1.

    Args:
        model: in eval mode.
        frames: the frames' features (T, E), each of which depends on no later frame.
        others: what else the model sees of the clip, as explain_clip() takes it.
    """
    if isinstance(model, FineCLIPER):
        return model.fuse(_branches_so_far(model, frames, others))
    counts = torch.arange(1, 1 + len(frames), device=frames.device)
    return F.normalize(frames.cumsum(0) / counts[:, None], dim=-1)


def shares(model: AdaptedCLIP, frames: Tensor, others: Mapping[str, Tensor]) -> dict[str, float]:
    """How much each branch counts in the whole clip; empty where there is one."""
    if not isinstance(model, FineCLIPER) or len(model.inputs) == 1:
        return {}
    with torch.no_grad():
        weights = model.weights(_branches_so_far(model, frames, others))[:, -1, 0]
    return dict(zip(model.inputs, weights.tolist(), strict=True))


def _branches_so_far(model: FineCLIPER, frames: Tensor, others: Mapping[str, Tensor]) -> Tensor:
    """(branches, T, E)."""
    found = []
    for name in model.inputs:
        if name == "descriptions":  # of the whole clip
            found.append(model.encode_branch(name, others[name][None]).expand(len(frames), -1))
            continue
        images = frames if name == "frames" else model.see_branch(name, others[name][None])[0]
        ends = range(1, 1 + len(frames))
        found.append(torch.cat([model.over_time(name, images[None, :end]) for end in ends]))
    return torch.stack(found)
