"""A trained model without some of its parts."""

from __future__ import annotations

from collections.abc import Collection

import torch

from peclip_fast.models.adapted_clip import AdaptedCLIP


def with_parts(model: AdaptedCLIP, kept: Collection[str]) -> AdaptedCLIP:
    """A model in eval mode, on the same device, with the named parts of ``model``.

    The parts were trained together with those that are left out: this isn't what training only
    them would have given. Without any part it is the frozen CLIP, on the backbone as it was before
    training. What the method can't leave out by an option (config_with) is as before training. The
    trained tensors are copies.

    Args:
        model: the trained one.
        kept: of the keys of ``model.parts()``; "backbone" for its own trained tensors.
    """
    parts = list(model.trained_counts())
    unknown = set(kept) - set(parts)
    if unknown:
        raise ValueError(f"the model has the parts {', '.join(parts)}, not {', '.join(unknown)}")
    with torch.random.fork_rng(devices=[]):  # the first values are drawn, and then replaced
        other = type(model)(
            model.config_with(kept),
            model.classes,
            model.original_backbone(),
            model.unnamed_backbone,
            model.tokenize.tokenizer,
        )
    state = {n: t for n, t in model.trained_state().items() if n.partition(".")[0] in kept}
    other.load_trained_state({**other.trained_state(), **state}, "the model's own parts")
    return other.to(model.class_tokens.device).eval()
