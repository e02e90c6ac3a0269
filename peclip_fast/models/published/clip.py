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


def model_config(clip: Mapping[str, Tensor], checkpoint: PublishedCheckpoint) -> dict[str, Any]:
    """open_clip's model_cfg.

    Args:
        clip: tensors by CLIP's names, NEEDED among them; TABLE may be missing.
        checkpoint: says how many heads there are, if not one for each HEAD_WIDTH channels.

    Raises:
        InputError: heads that don't divide their width.
    """
    patches = clip["visual.conv1.weight"]
    grid = isqrt(clip["visual.positional_embedding"].shape[0] - 1)
    text_width, embed_dim = clip["text_projection"].shape
    vision_width, patch = patches.shape[0], patches.shape[-1]

    def layers(tower: str) -> int:
        start = f"{tower}resblocks."
        return len({n[len(start) :].split(".")[0] for n in clip if n.startswith(start)})

    vision_heads = _heads("vision_heads", checkpoint.vision_heads, vision_width)
    return {
        "embed_dim": embed_dim,
        "quick_gelu": True,
        "vision_cfg": {
            "image_size": grid * patch,
            "layers": layers("visual.transformer."),
            "width": vision_width,
            "head_width": vision_width // vision_heads,
            "patch_size": patch,
        },
        "text_cfg": {
            "context_length": clip["positional_embedding"].shape[0],
            "vocab_size": clip[TABLE].shape[0] if TABLE in clip else END + 1,
            "width": text_width,
            "heads": _heads("text_heads", checkpoint.text_heads, text_width),
            "layers": layers("transformer."),
        },
    }


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
