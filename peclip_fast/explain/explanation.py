"""All that is shown of one clip, computed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from peclip_fast.errors import InputError
from peclip_fast.explain.rollout import attention_rollout, gradient_rollout, on_patches
from peclip_fast.explain.so_far import clips_so_far
from peclip_fast.explain.trace import Trace, trace
from peclip_fast.models.ablation import with_parts
from peclip_fast.models.adapted_clip import AdaptedCLIP

FULL = "full model"


@dataclass(frozen=True)
class Rollouts:
    """Where the model looks at a stage, in each of T frames; g * g patches a frame.

    Args:
        name: of the stage.
        rollout: attention rollout of the frame's feature, (T, g, g), shares of 1.
        gradient: gradient rollout of the feature for the explained class, (T, g, g).
    """

    name: str
    rollout: Tensor
    gradient: Tensor


@dataclass(frozen=True)
class Explanation:
    """Of one clip of T frames, in float32 on the CPU.

    Args:
        stages: with more and more parts of the model, the whole model last.
        probabilities: (T, C), of the clip up to each frame; the last row is the model's answer.
        class_scales: (blocks, T), the model's frame_scales() of the class token; None without
            them, and where the class token is not the feature.
        token_scales: (blocks, T), the mean of s over the tokens that reach the output: all of
            them, but in the last block the class token where that is the feature; None without.
        shares: of the model's branches in the clip's feature, by name; empty of a single one.
    """

    stages: list[Rollouts]
    probabilities: Tensor
    class_scales: Tensor | None
    token_scales: Tensor | None
    shares: dict[str, float]

    @property
    def predicted(self) -> int:
        """The class whose logit the gradients are of, at all stages: the model's answer."""
        return int(self.probabilities[-1].argmax())


def explain_clip(model: AdaptedCLIP, frames: Tensor, **others: Tensor) -> Explanation:
    """Explain what a model says of a clip.

    Args:
        model: in eval mode, in float32.
        frames: (T, 3, H, W), float in [0, 1] or uint8, on the model's device.
        others: what else the model sees of the clip, without a batch's dimension.

    Raises:
        InputError: the model doesn't see the frames.
    """
    if "frames" not in model.inputs:
        raise InputError(
            f"explain: takes models that see the frames; this one sees {', '.join(model.inputs)}"
        )
    with torch.enable_grad():
        seen = trace(model, frames)
        logits = _logits_so_far(model, frames, seen, others)
        predicted = int(logits[-1].argmax())
        last = _rollouts(FULL, seen, logits[-1, predicted])
    stages = [
        _at_stage(stage.name, with_parts(model, stage.kept), frames, others, predicted)
        for stage in model.stages()
    ]
    scales = [s.detach().float().cpu() for s in seen.scales]
    means = [s.mean(1) for s in scales]
    if scales and seen.class_token:
        means[-1] = scales[-1][:, 0]
    with torch.no_grad():
        shares = model.branch_shares(seen.features, others)
    return Explanation(
        stages=[*stages, last],
        probabilities=logits.detach().softmax(-1).float().cpu(),
        class_scales=(
            torch.stack([s[:, 0] for s in scales]) if scales and seen.class_token else None
        ),
        token_scales=torch.stack(means) if scales else None,
        shares=shares,
    )


def _logits_so_far(
    model: AdaptedCLIP, frames: Tensor, seen: Trace, others: Mapping[str, Tensor]
) -> Tensor:
    """(T, C), those that the model gives to the clip's first frame, its first two, and so on."""
    clips = clips_so_far(model, frames, seen.features, others)
    return model.logits(clips, model.encode_classes())


def _at_stage(
    name: str, model: AdaptedCLIP, frames: Tensor, others: Mapping[str, Tensor], explained: int
) -> Rollouts:
    with torch.enable_grad():
        seen = trace(model, frames)
        clips = clips_so_far(model, frames, seen.features, others)
        logit = model.logits(clips[-1:], model.encode_classes())[0, explained]
        return _rollouts(name, seen, logit)


def _rollouts(name: str, seen: Trace, logit: Tensor) -> Rollouts:
    gradients = torch.autograd.grad(logit, seen.maps)
    rolled = attention_rollout(seen), gradient_rollout(seen, gradients)
    rollout, gradient = (on_patches(r.detach(), seen).float().cpu() for r in rolled)
    return Rollouts(name, rollout, gradient)
