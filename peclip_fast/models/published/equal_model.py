"""The last step of reading a published checkpoint, which is the same for every method."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import open_clip
from torch import Tensor

from peclip_fast.config.model import ModelConfig
from peclip_fast.models.adapted_clip import AdaptedCLIP
from peclip_fast.models.published.checkpoint import PublishedCheckpoint

Model = TypeVar("Model", bound=AdaptedCLIP)
Tensors = Mapping[str, Tensor]


def equal_model(
    method: type[Model],
    config: ModelConfig,
    classes: Sequence[str],
    model_cfg: dict[str, Any],
    checkpoint: PublishedCheckpoint,
    state: Tensors,
    views: Callable[[Tensors], Tensors],
) -> Model:
    """A model of these sizes with a checkpoint's tensors, in eval mode.

    Args:
        method: its class.
        config: its options.
        classes: the names of its classes.
        model_cfg: open_clip's, of the backbone.
        checkpoint: for messages.
        state: the checkpoint's tensors, all of which have to be among the views.
        views: from a model's tensors to them, or parts of them, by the published names.

    Raises:
        InputError: with the names of tensors that don't fit.
    """
    model = method(config, classes, open_clip.CLIP(**model_cfg), unnamed_backbone=model_cfg)
    checkpoint.fill(views(model.state_dict()), state)
    model.remember_backbone()
    return model.eval()


def renamed(name: Callable[[str], str]) -> Callable[[Tensors], Tensors]:
    """Views for equal_model() where each tensor has one published name."""
    return lambda tensors: {name(n): tensor for n, tensor in tensors.items()}
