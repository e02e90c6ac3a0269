"""Checkpoints of the published CLIP-LoRA program: the state of its whole model.

What its ``save_lora`` writes has no CLIP in it, and so no sizes.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from peclip_fast.config.methods.clip_lora import CLIPLoRAConfig
from peclip_fast.errors import InputError
from peclip_fast.models.published.checkpoint import PublishedCheckpoint
from peclip_fast.models.published.clip import NEEDED, model_config, unpacked
from peclip_fast.models.published.equal_model import Model, equal_model

TOWERS = {"vision": "visual.transformer", "text": "transformer"}
FIRST = "visual.transformer.resblocks.0.attn.q_proj.w_lora_A"


def load_clip_lora(method: type[Model], checkpoint: PublishedCheckpoint) -> Model:
    """The equal model, in eval mode; load_published() says more."""
    state = unpacked(checkpoint.state)
    checkpoint.refuse_heads("temporal_heads", "has no attention over the frames")
    checkpoint.need(checkpoint.method, (*NEEDED, FIRST))
    if checkpoint.class_texts is None:
        raise InputError(
            f"{checkpoint.source}: class_texts: expected the text of each class, as there are "
            "none in the file"
        )
    config = CLIPLoRAConfig(
        backbone="published checkpoint",
        rank=len(state[FIRST]),
        texts=list(checkpoint.class_texts),
    )
    model_cfg = model_config(state, checkpoint)
    classes = [text.rstrip(".") for text in checkpoint.class_texts]
    return equal_model(method, config, classes, model_cfg, checkpoint, state, published_views)


def published_views(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A model's tensors by the published names, where queries, keys and values stand apart."""
    found: dict[str, Tensor] = {}

    def add(name: str, parts: tuple[Tensor, ...]) -> None:
        for letter, tensor in zip("qkv", parts, strict=True):
            found[name.replace("?", letter)] = tensor

    for name, tensor in tensors.items():
        part, _, rest = name.partition(".")
        if part == "lora":
            tower, block, which = rest.split(".")
            letter = {"down": "A", "up": "B"}[which]
            add(f"{TOWERS[tower]}.resblocks.{block}.attn.?_proj.w_lora_{letter}", tensor.unbind())
        elif ".attn.in_proj_" in rest:
            add(rest.replace("in_proj_", "?_proj."), tensor.chunk(3))
        else:
            found[rest.replace(".attn.out_proj.", ".attn.proj.")] = tensor
    return found
