"""Checkpoints of AIM's and ST-Adapter's programs with random tensors of any sizes."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Sizes:
    """Of an image encoder and what was added."""

    width: int = 48
    patch: int = 8
    grid: int = 2
    layers: int = 2
    classes: int = 3
    hidden: int = 20


def encoder(sizes: Sizes) -> dict[str, tuple[int, ...]]:
    """Name -> shape of CLIP's image encoder, without its projection."""
    d = sizes.width
    shapes: dict[str, tuple[int, ...]] = {
        "class_embedding": (d,),
        "conv1.weight": (d, 3, sizes.patch, sizes.patch),
        "positional_embedding": (sizes.grid**2 + 1, d),
    }
    for name in ("ln_pre", "ln_post"):
        shapes |= {f"{name}.weight": (d,), f"{name}.bias": (d,)}
    for i in range(sizes.layers):
        block = {
            "attn.in_proj_weight": (3 * d, d), "attn.in_proj_bias": (3 * d,),
            **of_linear("attn.out_proj", d, d), **of_linear("mlp.c_fc", d, 4 * d),
            **of_linear("mlp.c_proj", 4 * d, d),
            "ln_1.weight": (d,), "ln_1.bias": (d,), "ln_2.weight": (d,), "ln_2.bias": (d,),
        }  # fmt: skip
        shapes |= {f"transformer.resblocks.{i}.{name}": shape for name, shape in block.items()}
    return shapes


def of_linear(name: str, before: int, after: int) -> dict[str, tuple[int, ...]]:
    """A layer's two tensors."""
    return {f"{name}.weight": (after, before), f"{name}.bias": (after,)}


def drawn(shapes: dict[str, tuple[int, ...]]) -> dict[str, Tensor]:
    """Random tensors that keep what goes through a block at about its size."""
    generator = torch.Generator().manual_seed(0)
    found = {}
    for name, shape in shapes.items():
        tensor = torch.randn(shape, generator=generator)
        fan = tensor[0].numel() if len(shape) > 1 else 10
        found[name] = tensor / fan**0.5 + (1 if "ln_" in name and name.endswith("weight") else 0)
    return found


def aim_state(sizes: Sizes, frames: int, input_adapter: bool) -> dict[str, Tensor]:
    """AIM's."""
    shapes = encoder(sizes) | {"temporal_embedding": (1, frames, sizes.width)}
    names = ["T_Adapter", "S_Adapter", "MLP_Adapter"] + ["T_Adapter_in"] * input_adapter
    for i in range(sizes.layers):
        for name in names:
            block = f"transformer.resblocks.{i}.{name}."
            shapes |= of_linear(f"{block}D_fc1", sizes.width, sizes.hidden)
            shapes |= of_linear(f"{block}D_fc2", sizes.hidden, sizes.width)
    whole = {f"backbone.{name}": shape for name, shape in shapes.items()}
    return drawn(whole | of_linear("cls_head.fc_cls", sizes.width, sizes.classes))


def st_adapter_state(
    sizes: Sizes, kernel: tuple[int, int, int], places: list[str], first: int = 0
) -> dict[str, Tensor]:
    """ST-Adapter's, with adapters in the blocks from ``first`` on."""
    shapes = encoder(sizes)
    for i in range(first, sizes.layers):
        for name in places:
            block = f"transformer.resblocks.{i}.adapter_{name}."
            shapes |= of_linear(f"{block}fc1", sizes.width, sizes.hidden)
            shapes |= of_linear(f"{block}fc2", sizes.hidden, sizes.width)
            shapes |= {f"{block}conv.weight": (sizes.hidden, 1, *kernel)}
            shapes |= {f"{block}conv.bias": (sizes.hidden,)}
    return drawn(shapes | of_linear("fc", sizes.width, sizes.classes))
