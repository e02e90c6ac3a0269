"""Backbones that are trained in part: what is counted, stored, restored and called frozen."""

from __future__ import annotations

import json
from dataclasses import replace

import open_clip
import pytest
import torch
import torch.nn.functional as F
from helpers.models.small_towers import KINDS, save_small
from helpers.models.tiny_backbone import TINY
from helpers.models.toy_methods import ToyDFER, ToyDFERConfig
from safetensors import safe_open
from torch import nn

from peclip_fast import AdaptedCLIP, InputError, ModelConfig, create_model, from_pretrained
from peclip_fast.config.data import DataConfig
from peclip_fast.config.run import RunConfig
from peclip_fast.config.train import TrainConfig
from peclip_fast.data.splits import open_splits
from peclip_fast.embed.features import FROZEN, clip_features
from peclip_fast.explain.explanation import explain_clip
from peclip_fast.models.ablation import with_parts
from peclip_fast.models.backbone import load_backbone

CLASSES = ("happiness", "sadness", "anger")
SIZES = {"temporal_heads": 2, "temporal_head_width": 16, "temporal_hidden": 32}


@pytest.fixture
def make(tiny_backbone):
    def make(**options):
        torch.manual_seed(0)
        return create_model("toy_dfer", tiny_backbone, classes=CLASSES, **SIZES, **options)

    return make


@pytest.fixture
def trained(make):
    """After three steps."""
    model = make()
    optimizer = torch.optim.SGD(
        [
            {"params": parameters, "lr": 1e-2}
            for parameters in model.parameter_groups().values()
        ]
    )  # fmt: skip
    for _ in range(3):
        optimizer.zero_grad()
        logits = model(torch.rand(2, 3, 3, 32, 32))
        F.cross_entropy(logits, torch.tensor([0, 2])).backward()
        optimizer.step()
    return model.eval()


@pytest.fixture
def frames():
    return torch.rand(2, 3, 3, 32, 32)


PATTERNS = {
    "visual.*": lambda name: name.startswith("visual."),
    "visual.ln_post.*": lambda name: name.startswith("visual.ln_post."),
    "*.resblocks.2.*": lambda name: ".resblocks.2." in name,
    "*": lambda name: name != "logit_scale",
}


@pytest.mark.parametrize("pattern", PATTERNS)
def test_what_is_trained(make, frames, pattern):
    model, wanted = make(trained=pattern), PATTERNS[pattern]
    expected = {n for n, _ in model.backbone.named_parameters() if wanted(n)}
    names = {n.removeprefix("backbone.") for n in model.trained_parameters() if "backbone." in n}
    assert names == expected
    assert {n for n, p in model.backbone.named_parameters() if p.requires_grad} == expected
    groups = model.parameter_groups()
    assert list(groups) == ["temporal", "prompts", "backbone"]
    assert len(groups["backbone"]) == len(expected)
    number = sum(p.numel() for p in groups["backbone"])
    assert model.trained_counts()["backbone"] == number
    assert model.frozen_count() == sum(p.numel() for p in model.backbone.parameters()) - number
    # All of it gets a gradient, on the kernels' own choice of backend.
    F.cross_entropy(model(frames), torch.tensor([0, 2])).backward()
    silent = [n for n, p in model.trained_parameters().items() if p.grad is None]
    assert silent == []
    assert all(p.grad is None for n, p in model.backbone.named_parameters() if not wanted(n))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_gradients_are_those_of_open_clip(make, frames, dtype):
    """Of the image encoder, by its own forward pass."""
    model = make()
    names = [n for n in model.trained_parameters() if n.startswith("backbone.")]
    tensors = [model.trained_parameters()[n] for n in names]
    weight = torch.randn(2, 3, 32)
    with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
        found = torch.autograd.grad((model.encode_frames(frames) * weight).sum(), tensors)
        images = model.backbone.encode_image(frames.flatten(0, 1)).view(2, 3, -1)
        expected = torch.autograd.grad((images * weight).sum(), tensors)
    bound = 1e-5 if dtype == torch.float32 else 5e-2
    for name, a, b in zip(names, found, expected, strict=True):
        assert b.any(), name
        assert (a - b).norm() <= bound * b.norm(), name


@pytest.mark.parametrize("kind", KINDS)
def test_all_of_every_kind_of_backbone_is_trained(kind, tmp_path):
    """No tensor is left without a gradient, which several processes would wait for."""
    torch.manual_seed(0)
    model = create_model(
        "toy_dfer", save_small(kind, tmp_path), classes=CLASSES, trained="*",
        context_tokens=2, temporal_layers=0,
    )  # fmt: skip
    F.cross_entropy(model(torch.rand(2, 3, 3, 32, 32)), torch.tensor([0, 2])).backward()
    assert [n for n, p in model.trained_parameters().items() if p.grad is None] == []
    assert model.frozen_count() <= 2  # logit_scale and logit_bias


def test_recomputed_blocks_give_the_same_gradients(make, frames):
    model, found = make(), []
    for blocks in (0, 3):
        model.recompute(blocks)
        loss = F.cross_entropy(model(frames), torch.tensor([0, 2]))
        found.append(torch.autograd.grad(loss, list(model.trained_parameters().values())))
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


def test_patterns_that_fit_nothing_and_methods_that_forget(make, tiny_backbone):
    with pytest.raises(InputError, match=r"trained_backbone: 'vision\.\*' fits no tensor of"):
        make(trained="vision.*")

    class NoRate(ToyDFER):
        config_class = type("NoRateConfig", (ToyDFERConfig,), {"learning_rates": {"temporal": 1}})

    with pytest.raises(ValueError, match="NoRate: learning_rates has no 'backbone'"):
        NoRate(
            NoRate.config_class(backbone=tiny_backbone, **SIZES), CLASSES,
            load_backbone(tiny_backbone),
        )  # fmt: skip

    class Loose(AdaptedCLIP):
        config_class = ModelConfig

        def make_parts(self) -> None:
            self.scale = nn.Parameter(torch.ones(()))

    with pytest.raises(ValueError, match=r"Loose: scale is in none of its parts\(\)"):
        Loose(ModelConfig(backbone=tiny_backbone), CLASSES, load_backbone(tiny_backbone))


def test_modes(trained):
    for mode in (True, False):
        trained.train(mode)
        assert trained.training == trained.temporal.training == mode
        assert not any(module.training for module in trained.backbone.modules())


def test_saved_and_loaded(trained, frames, tmp_path):
    trained.save_pretrained(tmp_path / "model")
    with safe_open(tmp_path / "model" / "model.safetensors", "pt") as file:
        assert set(file.keys()) == set(trained.trained_parameters())
    again = from_pretrained(tmp_path / "model")
    assert not again.training
    with torch.no_grad():
        assert torch.equal(again(frames), trained(frames))
    assert again.backbone_fingerprint == trained.backbone_fingerprint
    # Resuming restores the trained tensors of the backbone too.
    fresh = create_model(classes=CLASSES, **vars(trained.config)).eval()
    with torch.no_grad():
        assert not torch.allclose(fresh(frames), trained(frames), atol=1e-3)
        fresh.load_trained_state(trained.trained_state())
        assert torch.equal(fresh(frames), trained(frames))


def test_an_unnamed_backbone_is_saved_as_it_was(frames, tmp_path):
    torch.manual_seed(1)
    clip = open_clip.CLIP(**TINY)
    before = {name: tensor.clone() for name, tensor in clip.state_dict().items()}
    model = ToyDFER(ToyDFERConfig(backbone="of nobody", **SIZES), CLASSES, clip, dict(TINY)).eval()
    with torch.no_grad():
        for parameter in model.trained_parameters().values():
            parameter.add_(0.1)
    model.save_pretrained(tmp_path / "model")
    saved = load_backbone(str(tmp_path / "model" / "backbone"))
    for name, tensor in saved.state_dict().items():
        assert torch.equal(tensor, before[name]), name
    again = from_pretrained(tmp_path / "model")
    with torch.no_grad():
        assert torch.equal(again(frames), model(frames))
    assert json.loads((tmp_path / "model/config.json").read_text())["config"]["backbone"]


def test_the_frozen_clip_is_the_one_before_training(trained, frames, tiny_backbone):
    """And making it changes nothing in the model, with which it shares what isn't trained."""
    after = {name: tensor.clone() for name, tensor in trained.trained_state().items()}
    original = load_backbone(tiny_backbone)
    frozen = with_parts(trained, ())
    with torch.no_grad():
        images = original.encode_image(frames.flatten(0, 1))
        found = frozen.encode_frames(frames).flatten(0, 1)
        torch.testing.assert_close(found, images, atol=1e-5, rtol=0)
        assert not torch.allclose(trained.encode_frames(frames).flatten(0, 1), images, atol=1e-3)
        assert torch.equal(with_parts(trained, trained.trained_counts())(frames), trained(frames))
        kept = with_parts(trained, ["backbone"]).encode_frames(frames)
        assert torch.equal(kept, trained.encode_frames(frames))
    assert frozen.backbone.token_embedding.weight is trained.backbone.token_embedding.weight
    for name, tensor in frozen.trained_state().items():
        tensor.zero_()
        assert torch.equal(trained.trained_state()[name], after[name])
    again = with_parts(trained, ()).encode_frames(frames).flatten(0, 1)
    torch.testing.assert_close(again, images, atol=1e-5, rtol=0)
    with pytest.raises(ValueError, match="has the parts temporal, prompts, backbone, not visual"):
        with_parts(trained, ["visual"])


def test_embed_and_explain_call_that_one_frozen(trained, tiny_clips):
    data = DataConfig(dataset="folder", root=tiny_clips, frames=2, num_workers=0)
    config = RunConfig(data=data, train=TrainConfig(eval_batch_size=4))
    records = open_splits(config.data).test
    original = create_model(classes=CLASSES, **vars(trained.config_with(())))
    found = clip_features(trained, records, config, torch.device("cpu")).features
    expected = clip_features(original, records, config, torch.device("cpu")).features
    torch.testing.assert_close(found[FROZEN], expected["trained"], atol=1e-5, rtol=0)
    assert not torch.allclose(found["trained"], expected["trained"], atol=1e-3)

    clip = torch.rand(3, 3, 32, 32)
    first, last = explain_clip(trained, clip).stages
    *_, same = explain_clip(original.eval(), clip).stages
    assert (first.name, last.name) == ("frozen CLIP", "full model")
    torch.testing.assert_close(first.rollout, same.rollout)
    assert not torch.allclose(first.rollout, last.rollout, atol=1e-5)


def test_class_features_follow_a_trained_text_encoder(make):
    model = make(trained="*").eval()
    with torch.no_grad():
        first = model.class_features()
        assert model.class_features() is first
        model.backbone.visual.proj.data.mul_(2)  # not read by texts
        assert model.class_features() is first
        model.backbone.ln_final.bias.data.add_(torch.randn(64))
        assert not torch.equal(model.class_features(), first)


def test_descriptions_are_read_as_the_method_says(make):
    model = make().eval()
    tokens = model.tokenize(["the brows lower"])
    with torch.no_grad():
        expected = model.backbone.encode_text(F.pad(tokens, (0, 77 - tokens.shape[1])), True)
        torch.testing.assert_close(model.encode_descriptions(tokens), expected)
    assert replace(model.config, trained="*").targets == ("classes", "descriptions")
