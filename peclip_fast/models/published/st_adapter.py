"""Checkpoints of the published ST-Adapter program."""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor

from peclip_fast.config.methods.st_adapter import STAdapterConfig
from peclip_fast.errors import InputError
from peclip_fast.models.published.checkpoint import PublishedCheckpoint
from peclip_fast.models.published.clip import image_model_config
from peclip_fast.models.published.equal_model import Model, equal_model

HEAD, BLOCKS = "fc.", "transformer.resblocks."
PLACES = {"before_attention": "adapter_pre_attn", "before_mlp": "adapter_pre_mlp"}
LAYERS = {"down": "fc1", "conv": "conv", "up": "fc2"}


def load_st_adapter(method: type[Model], checkpoint: PublishedCheckpoint) -> Model:
    """The equal model, in eval mode; load_published() says more."""
    state, source = checkpoint.state, checkpoint.source
    model_cfg = image_model_config(checkpoint, "")
    checkpoint.need(checkpoint.method, (f"{HEAD}weight",))
    blocks = {place: _blocks(state, name) for place, name in PLACES.items()}
    there = [found for found in blocks.values() if found]
    if not there:
        raise InputError(f"{source}: no {checkpoint.method} checkpoint: it has no adapters")
    first, layers = min(there[0]), model_cfg["vision_cfg"]["layers"]
    if any(found != set(range(first, layers)) for found in there):
        raise InputError(
            f"{source}: expected adapters in the last blocks, the same for each place, got "
            + "; ".join(f"{PLACES[p]} in {sorted(found)}" for p, found in blocks.items() if found)
        )
    place = next(PLACES[place] for place, found in blocks.items() if found)
    start = f"{BLOCKS}{first}.{place}."
    checkpoint.need(checkpoint.method, (f"{start}fc1.weight", f"{start}conv.weight"))
    frames, rows, columns = state[f"{start}conv.weight"].shape[2:]
    config = STAdapterConfig(
        backbone="published checkpoint",
        hidden=len(state[f"{start}fc1.weight"]),
        kernel=(frames, rows, columns),
        before_attention=bool(blocks["before_attention"]),
        before_mlp=bool(blocks["before_mlp"]),
        adapted_blocks=layers - first,
    )
    classes = checkpoint.class_names(len(state[f"{HEAD}weight"]))
    return equal_model(method, config, classes, model_cfg, checkpoint, state, published_views)


def _blocks(state: Mapping[str, Tensor], place: str) -> set[int]:
    """The blocks that have adapters at a place."""
    pattern = re.compile(rf"{re.escape(BLOCKS)}(\d+)\.{place}\.")
    return {int(found[1]) for found in map(pattern.match, state) if found}


def published_views(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A model's tensors by the published names; without CLIP's that the program has none of."""
    found = {}
    for name, tensor in tensors.items():
        part, _, rest = name.partition(".")
        if part in PLACES:
            block, layer, kind = rest.split(".")
            found[f"{BLOCKS}{block}.{PLACES[part]}.{LAYERS[layer]}.{kind}"] = tensor
        elif part == "head":
            found[f"{HEAD}{rest}"] = tensor
        elif rest.startswith("visual.") and rest != "visual.proj":
            found[rest.removeprefix("visual.")] = tensor
    return found
