"""What methods may do to the encoders, against the published programs of three that do it."""

from __future__ import annotations

import json
from pathlib import Path

import open_clip
import pytest
import torch
import torch.nn.functional as F
from helpers.models.toy_methods import (
    ToyAIM,
    ToyAIMConfig,
    ToyLoRA,
    ToyLoRAConfig,
)
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor

from peclip_fast import create_model

ASSETS = Path(__file__).parents[1] / "assets" / "peers"
SMALL = {
    "embed_dim": 24,
    "quick_gelu": True,
    "vision_cfg": {
        "image_size": 24, "patch_size": 8, "width": 32, "layers": 3, "head_width": 16
    },
    "text_cfg": {"width": 48, "heads": 3, "layers": 2},
}  # fmt: skip


def read(name: str) -> tuple[dict[str, Tensor], dict]:
    path = ASSETS / f"{name}.safetensors"
    with safe_open(path, "pt") as file:
        return load_file(path), json.loads(file.metadata()["config"])


def clip_of(weights: dict[str, Tensor], vectors: dict[str, Tensor]) -> open_clip.CLIP:
    """open_clip's model with the published tensors, all of which it has to take."""
    clip = open_clip.CLIP(**SMALL)
    if "token_embedding.ids" in vectors:
        table = torch.zeros_like(clip.token_embedding.weight)
        table[vectors["token_embedding.ids"]] = vectors["token_embedding.rows"]
        weights = {**weights, "token_embedding.weight": table}
    missing, unexpected = clip.load_state_dict(weights, strict=False)
    assert unexpected == []
    assert not any(name.startswith("visual.") and name != "visual.proj" for name in missing)
    return clip


def check(model, names, vectors, frames, *, factor=1.0) -> None:
    """Logits, loss and the gradient of every trained tensor.

    ``names``: our name of each trained tensor -> the published one.
    """
    assert model.trained_parameters().keys() == names.keys()
    logits = model(frames)
    torch.testing.assert_close(logits, vectors["output.logits"], rtol=0, atol=2e-5 * factor)
    loss = F.cross_entropy(logits, vectors["input.target"].long())
    torch.testing.assert_close(loss, vectors["output.loss"].view(()), rtol=1e-5, atol=1e-5)
    parameters = model.trained_parameters()
    found = torch.autograd.grad(loss, list(parameters.values()))
    for name, gradient in zip(parameters, found, strict=True):
        published = names[name]
        expected = vectors[f"gradient.{published}"].view(gradient.shape)
        assert expected.any(), published
        assert (gradient - expected).norm() <= 2e-5 * expected.norm(), published


def put(model, names, vectors) -> None:
    with torch.no_grad():
        for name, parameter in model.trained_parameters().items():
            parameter.copy_(vectors[f"weight.{names[name]}"].view(parameter.shape))


@pytest.mark.parametrize("backend", ["auto", "reference"])
def test_aim(backend):
    vectors, _ = read("aim_1")
    start = "weight.backbone."
    added = ("Adapter", "temporal_embedding")
    own = {
        f"visual.{name.removeprefix(start)}": tensor
        for name, tensor in vectors.items()
        if name.startswith(start) and not any(part in name for part in added)
    }
    config = ToyAIMConfig(backbone="small", backend=backend)
    model = ToyAIM(config, list("abcd"), clip_of(own, vectors))
    names = {
        "shift.values": "backbone.temporal_embedding",
        "head.weight": "cls_head.fc_cls.weight",
        "head.bias": "cls_head.fc_cls.bias",
        "backbone.visual.ln_post.weight": "backbone.ln_post.weight",
        "backbone.visual.ln_post.bias": "backbone.ln_post.bias",
    }
    for part, adapter in (("time", "T"), ("space", "S"), ("joint", "MLP")):
        for i in range(3):
            block = f"backbone.transformer.resblocks.{i}.{adapter}_Adapter"
            for layer, published in (("down", "D_fc1"), ("up", "D_fc2")):
                for kind in ("weight", "bias"):
                    names[f"{part}.{i}.{layer}.{kind}"] = f"{block}.{published}.{kind}"
    put(model, names, vectors)
    check(model, names, vectors, vectors["input.frames"].transpose(1, 2))
    assert {n: len(group) for n, group in model.parameter_groups().items()} == {
        "adapters": 37, "head": 2, "backbone": 2
    }  # fmt: skip


@pytest.mark.parametrize("backend", ["auto", "reference"])
def test_clip_lora(backend):
    vectors, facts = read("clip_lora")
    own: dict[str, Tensor] = {}
    for name, tensor in vectors.items():
        name = name.removeprefix("weight.")
        if not name.startswith(("visual.", "transformer.", "ln_final", "positional", "text_proj")):
            continue
        if "_proj." in name and ".attn." in name:
            continue
        own[name.replace(".attn.proj.", ".attn.out_proj.")] = tensor
    for tower, blocks in (("visual.transformer", 3), ("transformer", 2)):
        for i in range(blocks):
            attn = f"{tower}.resblocks.{i}.attn"
            for kind in ("weight", "bias"):
                parts = [vectors[f"weight.{attn}.{letter}_proj.{kind}"] for letter in "qkv"]
                own[f"{attn}.in_proj_{kind}"] = torch.cat(parts)
    config = ToyLoRAConfig(backbone="small", backend=backend)
    model = ToyLoRA(config, facts["texts"], clip_of(own, vectors))
    length = model.class_tokens.shape[1]
    assert torch.equal(model.class_tokens, vectors["input.tokens"][:, :length])
    names = {}
    for part, tower, blocks in (("vision", "visual.transformer", 3), ("text", "transformer", 2)):
        for i in range(blocks):
            for ours, published in (("down", "A"), ("up", "B")):
                entries = [
                    f"{tower}.resblocks.{i}.attn.{letter}_proj.w_lora_{published}"
                    for letter in "qkv"
                ]
                name = f"{part}.{i}.{ours}"
                names[f"low_rank.{name}"] = name
                for kind in ("weight", "gradient"):
                    stacked = [vectors[f"{kind}.{entry}"] for entry in entries]
                    vectors[f"{kind}.{name}"] = torch.stack(stacked)
    put(model, names, vectors)
    check(model, names, vectors, vectors["input.images"][:, None])


def test_published_numbers_of_trained_parameters():
    """Of CLIP-LoRA and of AIM's adapters on ViT-B/16, for 7 classes."""
    seven = [f"class {i}" for i in range(7)]
    with torch.device("meta"):
        low_rank = create_model("toy_lora", classes=seven)
        aim = create_model("toy_aim", classes=seven, hidden=192, most_frames=16)
    assert low_rank.trained_counts() == {"low_rank": 184_320}
    assert sum(aim.trained_counts().values()) == 10_670_599
