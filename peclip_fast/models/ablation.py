"""The same frozen backbone with some of a trained model's parts alone."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

import torch

from peclip_fast.errors import InputError
from peclip_fast.models.adapted_clip import AdaptedClip
from peclip_fast.models.pe_clip import PEClip


def of_pe_clip(model: AdaptedClip, command: str) -> PEClip:
    """The model, whose parts the command can take apart; InputError if it is FineCLIPER's."""
    if not isinstance(model, PEClip):
        raise InputError(f"{command}: takes runs of PE-CLIP alone, not of {model.config.method}")
    return model


def with_parts(model: PEClip, kept: Collection[str]) -> PEClip:
    """A model in eval mode, on the same backbone and device, with the named parts of ``model``.

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
    config = replace(
        model.config,
        text_adapter="text_adapter" in kept,
        shared_text="shared_text" in kept,
        shared_vision="shared_vision" in kept,
        temporal="temporal" in kept,
        prompts=model.config.prompts if "prompts" in kept else "none",
    )
    with torch.random.fork_rng(devices=[]):  # the first values are drawn, and then replaced
        other = PEClip(
            config, model.classes, model.backbone, model.unnamed_backbone, model.tokenize.tokenizer
        )
    state = {n: t for n, t in model.trained_state().items() if n.partition(".")[0] in kept}
    other.load_trained_state(state, "the model's own parts")
    return other.to(model.class_tokens.device).eval()
