"""What methods may do to the encoders, against a published program that does it."""

from __future__ import annotations

import json
import math
from pathlib import Path

import open_clip
import pytest
import torch
import torch.nn.functional as F
from helpers.models.toy_methods import ToyDFER, ToyDFERConfig
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
def test_dfer_clip(backend):
    vectors, facts = read("dfer_clip")
    image, text = "weight.image_encoder.", "weight.text_encoder."
    own = {f"visual.{n.removeprefix(image)}": t for n, t in vectors.items() if n.startswith(image)}
    own |= {n.removeprefix(text): t for n, t in vectors.items() if n.startswith(text)}
    model = ToyDFER(
        ToyDFERConfig(backbone="small", backend=backend), facts["texts"], clip_of(own, vectors)
    )
    names = {
        "temporal.token": "temporal_net.cls_token",
        "temporal.position": "temporal_net.pos_embedding",
        "prompts.text.0": "prompt_learner.ctx",
    }
    for i in range(2):
        layer = f"temporal_net.temporal_transformer.layers.{i}"
        ours = {
            "norm_1.weight": "0.fn.norm.weight", "norm_1.bias": "0.fn.norm.bias",
            "norm_2.weight": "1.fn.norm.weight", "norm_2.bias": "1.fn.norm.bias",
            "qkv.weight": "0.fn.fn.to_qkv.weight",
            "out.weight": "0.fn.fn.to_out.0.weight", "out.bias": "0.fn.fn.to_out.0.bias",
            "mlp_in.weight": "1.fn.fn.net.0.weight", "mlp_in.bias": "1.fn.fn.net.0.bias",
            "mlp_out.weight": "1.fn.fn.net.3.weight", "mlp_out.bias": "1.fn.fn.net.3.bias",
        }  # fmt: skip
        names |= {f"temporal.layers.{i}.{n}": f"{layer}.{theirs}" for n, theirs in ours.items()}
    for name, _ in model.backbone.visual.named_parameters():
        names[f"backbone.visual.{name}"] = f"image_encoder.{name}"
    put(model, names, vectors)
    check(model, names, vectors, vectors["input.frames"])
    groups = {name: len(group) for name, group in model.parameter_groups().items()}
    assert groups == {"temporal": 24, "prompts": 1, "backbone": 44}


def test_published_numbers_of_trained_parameters():
    """Of DFER-CLIP on ViT-B/32 for 7 classes."""
    seven = [f"class {i}" for i in range(7)]
    sizes = {"contexts": 8, "layers": 1, "heads": 8, "head_width": 64, "hidden": 1024}
    with torch.device("meta"):
        whole = create_model("toy_dfer", "ViT-B-32", classes=seven, most_frames=16, **sizes)
    assert whole.trained_counts() == {
        "temporal": 2_110_464, "prompts": 28_672, "backbone": 87_849_216
    }  # fmt: skip
    assert whole.frozen_count() + 87_849_216 == 151_277_313
    assert math.isclose(sum(whole.trained_counts().values()), 90e6, rel_tol=0.001)
