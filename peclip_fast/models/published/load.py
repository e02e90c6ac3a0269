"""From a checkpoint of a method's published program to the equal model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

from peclip_fast.models.adapted_clip import AdaptedCLIP
from peclip_fast.models.published.checkpoint import PublishedCheckpoint, read_state
from peclip_fast.registry import METHODS


def load_published(
    path: str | Path,
    method: str = "pe_clip",
    class_texts: Sequence[str] | None = None,
    vision_heads: int | None = None,
    text_heads: int | None = None,
    temporal_heads: int | None = None,
    normalize: Literal["none", "clip"] = "none",
) -> AdaptedCLIP:
    """The model equal to a ``.pth`` of a method's published program, in eval mode.

    All sizes are read off the tensors, except for the numbers of attention heads, which leave no
    trace in them. The file is loaded with ``weights_only=True``; objects in it that are no tensors
    are not built.

    Args:
        path: ``{"state_dict": ...}`` or a bare state dict; keys with or without ``module.``.
        method: whose program wrote it.
        class_texts: what the text encoder read for each class. Without them they are recovered
            from the checkpoint, or are those of the method's paper.
        vision_heads: of each vision block; a head for each 64 channels unless given.
        text_heads: of each text block; the same.
        temporal_heads: of each layer of attention over the frames, for methods that have some.
        normalize: "none" is a model that takes what the program's model takes; "clip" one that
            takes pixels in [0, 1], where the program's loader takes CLIP's mean and deviation off.

    Raises:
        InputError: not such a checkpoint, or one for other classes or sizes, with the names of
            the tensors; or the method's checkpoints can't be read.
    """
    model: type[AdaptedCLIP] = METHODS[method]
    texts = None if class_texts is None else tuple(class_texts)
    heads = vision_heads, text_heads, temporal_heads
    state = read_state(Path(path))
    loaded = model.from_published(PublishedCheckpoint(method, str(path), state, texts, *heads))
    loaded.config = replace(loaded.config, normalize=normalize)
    return loaded
