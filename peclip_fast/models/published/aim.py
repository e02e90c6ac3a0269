"""Checkpoints of the published AIM program."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from peclip_fast.config.methods.aim import AIMConfig
from peclip_fast.models.published.checkpoint import PublishedCheckpoint
from peclip_fast.models.published.clip import image_model_config
from peclip_fast.models.published.equal_model import Model, equal_model

ENCODER, HEAD = "backbone.", "cls_head.fc_cls."
PLACES = f"{ENCODER}temporal_embedding"
BLOCKS = f"{ENCODER}transformer.resblocks."
DOWN = f"{BLOCKS}0.T_Adapter.D_fc1.weight"
ADAPTERS = {
    "time_input": "T_Adapter_in", "time": "T_Adapter", "space": "S_Adapter", "joint": "MLP_Adapter"
}  # fmt: skip
LAYERS = {"down": "D_fc1", "up": "D_fc2"}


def load_aim(method: type[Model], checkpoint: PublishedCheckpoint) -> Model:
    """The equal model, in eval mode; load_published() says more.

    The adapters' scale is in no tensor: it is the published one of Something-Something where what
    attention over time reads has adapters, as only there, and Kinetics' elsewhere.
    """
    state = checkpoint.state
    model_cfg = image_model_config(checkpoint, ENCODER)
    checkpoint.need(checkpoint.method, (PLACES, DOWN, f"{HEAD}weight"))
    of_input = f"{BLOCKS}0.{ADAPTERS['time_input']}.D_fc1.weight" in state
    config = AIMConfig(
        backbone="published checkpoint",
        hidden=len(state[DOWN]),
        most_frames=state[PLACES].shape[1],
        scale=1.0 if of_input else 0.5,
        input_adapter=of_input,
    )
    classes = checkpoint.class_names(len(state[f"{HEAD}weight"]))
    return equal_model(method, config, classes, model_cfg, checkpoint, state, published_views)


def published_views(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A model's tensors by the published names; without CLIP's that the program has none of."""
    found = {}
    for name, tensor in tensors.items():
        part, _, rest = name.partition(".")
        if part in ADAPTERS:
            block, layer, kind = rest.split(".")
            found[f"{BLOCKS}{block}.{ADAPTERS[part]}.{LAYERS[layer]}.{kind}"] = tensor
        elif part == "places":
            found[PLACES] = tensor.transpose(0, 1)
        elif part == "head":
            found[f"{HEAD}{rest}"] = tensor
        elif rest.startswith("visual.") and rest != "visual.proj":
            found[f"{ENCODER}{rest.removeprefix('visual.')}"] = tensor
    return found
