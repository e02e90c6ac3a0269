"""The temporal module of DFER-CLIP's and EmoCLIP's programs, which is the same."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from peclip_fast.errors import InputError

LAYERS = "temporal_transformer.layers."
_OURS = {
    "norm_1": "0.fn.norm",
    "qkv": "0.fn.fn.to_qkv",
    "out": "0.fn.fn.to_out.0",
    "norm_2": "1.fn.norm",
    "mlp_in": "1.fn.fn.net.0",
    "mlp_out": "1.fn.fn.net.3",
}
HEADS = 8  # of both programs


def published_temporal_name(name: str) -> str:
    """Our name of a tensor of ClassTokenTransformer -> the published one."""
    if name in ("token", "position"):
        return {"token": "cls_token", "position": "pos_embedding"}[name]
    _, layer, module, kind = name.split(".")
    return f"{LAYERS}{layer}.{_OURS[module]}.{kind}"


def temporal_settings(
    state: dict[str, Tensor], module: str, heads: int | None, source: str
) -> dict[str, Any]:
    """The fields of ClassTokenConfig.

    A single head as wide as the features has no product after it in the programs: the state then
    gets one that changes nothing.

    Args:
        state: tensors by the published names.
        module: in front of them.
        heads: of each layer; the programs' own number unless given.
        source: of the tensors, for messages.

    Raises:
        InputError: tensors are missing, or the heads don't divide their width.
    """
    start = f"{module}{LAYERS}"
    layers = sorted({int(n[len(start) :].split(".")[0]) for n in state if n.startswith(start)})
    first = start + "0."
    needed = [f"{module}pos_embedding"] + [
        first + _OURS[name] + ".weight" for name in ("qkv", "mlp_in")
    ]
    missing = [name for name in needed if name not in state]
    if missing:
        raise InputError(f"{source}: tensors differ: {', '.join(missing)} missing")
    position, qkv, mlp_in = (state[name] for name in needed)
    inner, heads = qkv.shape[0] // 3, HEADS if heads is None else heads
    if heads < 1 or inner % heads:
        raise InputError(f"temporal_heads={heads}: expected a divisor of {inner}, their width")
    if heads == 1 and inner == qkv.shape[1]:
        _add_products(state, start, layers)
    return {
        "temporal_layers": len(layers),
        "temporal_heads": heads,
        "temporal_head_width": inner // heads,
        "temporal_hidden": mlp_in.shape[0],
        "places": position.shape[-2],
    }


def _add_products(state: dict[str, Tensor], start: str, layers: list[int]) -> None:
    for layer in layers:
        name = f"{start}{layer}.{_OURS['out']}"
        width = state[f"{start}{layer}.{_OURS['qkv']}.weight"].shape[1]
        state.setdefault(f"{name}.weight", torch.eye(width))
        state.setdefault(f"{name}.bias", torch.zeros(width))


def named(state: Mapping[str, Tensor], starts: Mapping[str, str]) -> dict[str, Tensor]:
    """CLIP's own tensors by its names.

    Args:
        state: tensors by the published names.
        starts: what stands in front of them there -> what does in CLIP.
    """
    return {
        ours + name.removeprefix(published): tensor
        for published, ours in starts.items()
        for name, tensor in state.items()
        if name.startswith(published)
    }
