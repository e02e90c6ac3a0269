"""The sizes of OpenAI's CLIP, read off its tensors."""

from __future__ import annotations

from collections.abc import Mapping
from math import isqrt
from typing import Any

from torch import Tensor

from peclip_fast.errors import InputError
from peclip_fast.models.published.checkpoint import PublishedCheckpoint
from peclip_fast.models.tokenizer import END

HEAD_WIDTH = 64  # of all of OpenAI's
NEEDED = (
    "visual.conv1.weight",
    "visual.class_embedding",
    "visual.positional_embedding",
    "positional_embedding",
    "text_projection",
)
TABLE = "token_embedding.weight"
ROWS, IDS = "token_embedding.rows", "token_embedding.ids"


def model_config(clip: Mapping[str, Tensor], checkpoint: PublishedCheckpoint) -> dict[str, Any]:
    """open_clip's model_cfg.

    Args:
        clip: tensors by CLIP's names, NEEDED among them; TABLE may be missing.
        checkpoint: says how many heads there are, if not one for each HEAD_WIDTH channels.

    Raises:
        InputError: heads that don't divide their width.
    """
    text_width, embed_dim = clip["text_projection"].shape
    return {
        "embed_dim": embed_dim,
        "quick_gelu": True,
        "vision_cfg": _vision_config(clip, "visual.", checkpoint),
        "text_cfg": {
            "context_length": clip["positional_embedding"].shape[0],
            "vocab_size": clip[TABLE].shape[0] if TABLE in clip else END + 1,
            "width": text_width,
            "heads": _heads("text_heads", checkpoint.text_heads, text_width),
            "layers": _layers(clip, "transformer."),
        },
    }


def image_model_config(checkpoint: PublishedCheckpoint, prefix: str) -> dict[str, Any]:
    """open_clip's model_cfg for an image encoder that has lost its projection and its texts.

    There has to be a text encoder; this one is as small as can be, and nothing reads it.

    Args:
        checkpoint: of a method that has a linear head.
        prefix: of the names of the encoder's tensors, which stand there by CLIP's names.

    Raises:
        InputError: some of those tensors are missing; or as model_config().
    """
    checkpoint.refuse_heads("text_heads", "reads no texts")
    checkpoint.refuse_heads("temporal_heads", "has no heads of its own over the frames")
    needed = (name.removeprefix("visual.") for name in NEEDED if name.startswith("visual."))
    checkpoint.need(checkpoint.method, (f"{prefix}{name}" for name in needed))
    return {
        "embed_dim": 1,
        "quick_gelu": True,
        "vision_cfg": _vision_config(checkpoint.state, prefix, checkpoint),
        "text_cfg": {"vocab_size": END + 1, "width": 1, "heads": 1, "layers": 1},
    }


def _vision_config(
    clip: Mapping[str, Tensor], prefix: str, checkpoint: PublishedCheckpoint
) -> dict[str, Any]:
    patches = clip[f"{prefix}conv1.weight"]
    grid = isqrt(clip[f"{prefix}positional_embedding"].shape[0] - 1)
    width, patch = patches.shape[0], patches.shape[-1]
    return {
        "image_size": grid * patch,
        "layers": _layers(clip, f"{prefix}transformer."),
        "width": width,
        "head_width": width // _heads("vision_heads", checkpoint.vision_heads, width),
        "patch_size": patch,
    }


def _layers(clip: Mapping[str, Tensor], tower: str) -> int:
    start = f"{tower}resblocks."
    return len({n[len(start) :].split(".")[0] for n in clip if n.startswith(start)})


def _heads(option: str, given: int | None, width: int) -> int:
    if given is None:
        if width % HEAD_WIDTH:
            raise InputError(
                f"{option}: expected a number, as the width {width} isn't one of heads of "
                f"{HEAD_WIDTH}"
            )
        return width // HEAD_WIDTH
    if given < 1 or width % given:
        raise InputError(f"{option}={given}: expected a divisor of the width {width}")
    return given


def unpacked(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors, with a token table where only the rows of its known tokens are given."""
    state = dict(state)
    if ROWS in state and IDS in state:
        rows, ids = state.pop(ROWS), state.pop(IDS).long()
        table = rows.new_zeros(max(END, int(ids.max())) + 1, rows.shape[-1])
        table[ids] = rows
        state[TABLE] = table
    return state


def with_table(state: Mapping[str, Tensor], name: str) -> dict[str, Tensor]:
    """unpacked(), with the token table by the name that it has in a program."""
    state = unpacked(state)
    if TABLE in state and name not in state:
        state[name] = state.pop(TABLE)
    return state
