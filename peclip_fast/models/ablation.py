"""The same frozen backbone with some of a trained model's parts alone."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

import torch

from peclip_fast.models.adapted_clip import AdaptedCLIP
from peclip_fast.models.methods.pe_clip import PECLIP


def with_parts(model: AdaptedCLIP, kept: Collection[str]) -> AdaptedCLIP:
    """A model in eval mode, on the same backbone and device, with the named parts of ``model``.

    The others aren't there; of FineCLIPER they are as before training, when they add nothing.

    The parts were trained together with those that are left out: this isn't what training them
    alone would have given. No part at all is the frozen CLIP. The trained tensors are copies.

    Args:
        model: the trained one.
        kept: of the keys of ``model.parts()``.
    """
    parts = model.parts()
    unknown = set(kept) - set(parts)
    if unknown:
        raise ValueError(f"the model has the parts {', '.join(parts)}, not {', '.join(unknown)}")
    config = model.config
    if isinstance(model, PECLIP):
        config = replace(
            config,
            text_adapter="text_adapter" in kept,
            shared_text="shared_text" in kept,
            shared_vision="shared_vision" in kept,
            temporal="temporal" in kept,
            prompts=config.prompts if "prompts" in kept else "none",
        )
    with torch.random.fork_rng(devices=[]):  # the first values are drawn, and then replaced
        other = type(model)(
            config, model.classes, model.backbone, model.unnamed_backbone, model.tokenize.tokenizer
        )
    state = {n: t for n, t in model.trained_state().items() if n.partition(".")[0] in kept}
    other.load_trained_state({**other.trained_state(), **state}, "the model's own parts")
    return other.to(model.class_tokens.device).eval()
