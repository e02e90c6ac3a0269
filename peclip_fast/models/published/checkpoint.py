"""A checkpoint file of any method's published program."""

from __future__ import annotations

import pickle
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from peclip_fast.errors import InputError
from peclip_fast.registry import METHODS

if TYPE_CHECKING:
    from peclip_fast.models.adapted_clip import AdaptedCLIP


@dataclass(frozen=True)
class PublishedCheckpoint:
    """What a method's from_published() reads; the arguments are those of load_published().

    Args:
        source: the file, for messages.
        state: tensors by the published names, without ``module.``.
    """

    method: str
    source: str
    state: dict[str, Tensor]
    class_texts: tuple[str, ...] | None = None
    vision_heads: int | None = None
    text_heads: int | None = None
    temporal_heads: int | None = None


def load_published(
    path: str | Path,
    method: str = "pe_clip",
    class_texts: Sequence[str] | None = None,
    vision_heads: int | None = None,
    text_heads: int | None = None,
    temporal_heads: int | None = None,
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

    Raises:
        InputError: not such a checkpoint, or one for other classes or sizes, with the names of
            the tensors; or the method's checkpoints can't be read.
    """
    model = METHODS[method]
    texts = None if class_texts is None else tuple(class_texts)
    return model.from_published(
        PublishedCheckpoint(
            method, str(path), _read(Path(path)), texts, vision_heads, text_heads, temporal_heads
        )
    )


class _Inert:
    """Takes the place of the classes that a checkpoint names next to its tensors."""

    def __init__(self, *args: object, **kwargs: object) -> None:
        """Keep nothing."""

    def __setstate__(self, state: object) -> None:
        """Keep nothing."""


def _read(path: Path) -> dict[str, Tensor]:
    """The state dict under the published names."""
    try:
        others = torch.serialization.get_unsafe_globals_in_checkpoint(path)
        with torch.serialization.safe_globals([(_Inert, name) for name in others]):
            loaded = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; expected a checkpoint (.pth)") from None
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, OSError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"{path}: not a checkpoint that torch can read ({reason})") from error
    state = loaded.get("state_dict", loaded) if isinstance(loaded, Mapping) else None
    if not isinstance(state, Mapping):
        raise InputError(f"{path}: expected a state dict or {{'state_dict': ...}}")
    named = {str(name).removeprefix("module."): value for name, value in state.items()}
    return {name: value for name, value in named.items() if isinstance(value, Tensor)}
