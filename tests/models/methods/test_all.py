"""What holds for every method of the package, on every kind of backbone."""

from __future__ import annotations

import copy
from dataclasses import fields

import pytest
import torch
import torch.nn.functional as F
from helpers.models.every_method import NAMES, options_of
from helpers.models.small_towers import KINDS, WordTokenizer, save_small
from safetensors.torch import load_file

from peclip_fast import create_model, from_pretrained
from peclip_fast.explain.explanation import explain_clip
from peclip_fast.models.ablation import with_parts
from peclip_fast.models.backbone import load_backbone
from peclip_fast.models.description import describe_model
from peclip_fast.registry import CONFIGS, METHODS

CLASSES = ("happiness", "sadness", "anger")
LABELS = torch.tensor([0, 2, 1])
FRAMES = 3


def moved(model):
    """Nothing trained is as it started, so that no path is left out."""
    torch.manual_seed(5)
    with torch.no_grad():
        for parameter in model.trained_parameters().values():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return model


@pytest.fixture(params=NAMES)
def make(request, tiny_backbone):
    def make(**options):
        torch.manual_seed(0)
        given = {"classes": CLASSES, **options_of(request.param), **options}
        return moved(create_model(backbone=tiny_backbone, **given))

    return make


@pytest.fixture
def frames():
    torch.manual_seed(7)
    return torch.rand(3, FRAMES, 3, 32, 32)


def loss_of(model, frames):
    logits = model(frames)
    return model.loss(logits, F.one_hot(LABELS, len(CLASSES)).to(logits.dtype))


def test_it_saves_its_trained_tensors_and_comes_back(make, frames, tmp_path):
    model = make().eval()
    model.save_pretrained(tmp_path)
    saved = load_file(tmp_path / "model.safetensors")
    assert saved.keys() == model.trained_parameters().keys()
    assert sum(t.numel() for t in saved.values()) == sum(model.trained_counts().values())
    again = from_pretrained(tmp_path)
    with torch.no_grad():
        assert torch.equal(again(frames), model(frames))
    assert again.config == model.config


def test_its_groups_hold_every_trained_tensor_once(make):
    model = make()
    groups = model.parameter_groups()
    assert groups.keys() == model.config.learning_rates.keys()
    grouped = [id(p) for group in groups.values() for p in group]
    assert sorted(grouped) == sorted(id(p) for p in model.trained_parameters().values())


def test_every_trained_tensor_learns(make, frames):
    """In training mode, with a gradient for each that several processes would wait for."""
    model = make().train()
    trained = model.trained_parameters()
    if not trained:
        assert model.config.learning_rates == {}
        return
    loss_of(model, frames).backward()
    assert [name for name, p in trained.items() if p.grad is None] == []
    assert all(p.grad is None for n, p in model.backbone.named_parameters()
               if f"backbone.{n}" not in trained)  # fmt: skip
    before = loss_of(model.eval(), frames).item()
    optimizer = torch.optim.AdamW(trained.values(), lr=1e-3)
    model.train()
    for _ in range(12):
        optimizer.zero_grad()
        loss_of(model, frames).backward()
        optimizer.step()
    assert loss_of(model.eval(), frames).item() < 0.99 * before  # of noise, through dropout


def test_backends_and_precisions_agree(make, frames):
    with torch.no_grad():
        auto, reference = make().eval()(frames), make(backend="reference").eval()(frames)
        with torch.autocast("cpu", torch.bfloat16):
            rounded = make().eval()(frames)
    assert (auto - reference).abs().max() <= 2e-5 * max(1.0, reference.abs().max())
    assert rounded.dtype == torch.float32
    # bf16 has 8 bits; the logits are 100 times a cosine, and some 30 products are in a row.
    assert (rounded - reference).abs().max() <= 100 * 2**-8 * 5


def test_recomputation_changes_nothing(make, frames):
    model = make().train()
    trained = list(model.trained_parameters().values())
    if not trained:
        assert not loss_of(model, frames).requires_grad
        return
    found = []
    for blocks in (0, 3):
        model.recompute(blocks)
        torch.manual_seed(3)
        found.append(torch.autograd.grad(loss_of(model, frames), trained))
    for plain, again in zip(*found, strict=True):
        torch.testing.assert_close(again, plain, rtol=1e-4, atol=1e-6)


def test_class_texts_that_nothing_trains_are_read_once(make, frames, monkeypatch):
    model, read = make().train(), []
    encode = model.encode_text
    monkeypatch.setattr(model, "encode_text", lambda *args: read.append(args) or encode(*args))
    first = model(frames)
    once = len(read)
    learns = any(t.requires_grad for t in model.class_side()) or any(
        not name.startswith("backbone.visual.")
        for name in model.trained_parameters() if name.startswith("backbone.")
    )  # fmt: skip
    model(frames)
    assert len(read) == (2 * once if learns else once)
    # They follow a change of the texts all the same.
    with torch.no_grad():
        model.backbone.ln_final.weight.mul_(-1)
    if once:
        assert not torch.equal(model(frames), first)


def test_it_models_time_if_it_says_so(make, frames):
    """The logits of the clip in the reverse order are others, or the same to rounding."""
    model = make().eval()
    with torch.no_grad():
        change = (model(frames) - model(frames.flip(1))).abs().max()
    if model.config.models_time:
        assert change > 5e-4
    else:
        assert change < 1e-4


def test_it_is_drawn(make, frames):
    """By explain: every stage, and the clip up to each frame."""
    model = make().eval()
    explanation = explain_clip(model, frames[0])
    stages = [stage.name for stage in explanation.stages]
    assert stages == [*(stage.name for stage in model.stages()), "full model"]
    for stage in explanation.stages:
        for drawn in (stage.rollout, stage.gradient):
            assert drawn.shape[0] == FRAMES
            assert drawn.isfinite().all()
    with torch.no_grad():
        whole = model(frames[:1]).softmax(-1)[0]
    torch.testing.assert_close(explanation.probabilities[-1], whole, atol=1e-4, rtol=0)


def test_the_frozen_clip_below_it(make, frames):
    """Embed compares with it: the features of plain CLIP, whatever was trained."""
    model = make().eval()
    frozen = with_parts(model, ())
    with torch.no_grad():
        images = load_backbone(model.config.backbone).encode_image(frames.flatten(0, 1))
        found = F.normalize(frozen.encode_clips(frames).float(), dim=-1)
        if found.shape[-1] == images.shape[-1]:
            expected = F.normalize(images.view(3, FRAMES, -1).mean(1), dim=-1)
            torch.testing.assert_close(found, expected, atol=2e-5, rtol=0)
        changed = F.normalize(model.encode_clips(frames).float(), dim=-1)
    assert found.shape == changed.shape


@pytest.mark.parametrize("name", NAMES)
def test_info_has_its_exact_counts(name, tiny_backbone):
    config = CONFIGS[name](backbone=tiny_backbone, **options_of(name))
    found = describe_model(config)
    seven = [f"class {i}" for i in range(7)]
    model = METHODS[name](config.for_any_classes(), seven, load_backbone(tiny_backbone))
    counts = model.trained_counts()
    assert found["trained"] == {**counts, "total": sum(counts.values())}
    everything = sum(p.numel() for p in model.parameters())
    assert found["frozen"] == everything - sum(counts.values())
    assert found["title"]


@pytest.fixture(scope="module", params=KINDS)
def kind(request, tmp_path_factory):
    folder = save_small(request.param, tmp_path_factory.mktemp(request.param))
    return folder, load_backbone(folder), WordTokenizer() if "siglip" in request.param else None


@pytest.mark.parametrize("name", NAMES)
def test_every_backbone(kind, name, frames):
    folder, backbone, tokenizer = kind
    torch.manual_seed(0)
    config = CONFIGS[name](backbone=folder, normalize="clip", **options_of(name))
    own = copy.deepcopy(backbone)
    model = METHODS[name](config.for_any_classes(), CLASSES, own, tokenizer=tokenizer)
    moved(model).train()
    with torch.autocast("cpu", torch.bfloat16):
        loss = loss_of(model, frames)
    assert loss.isfinite()
    if trained := model.trained_parameters():
        loss.backward()
        assert [n for n, p in trained.items() if p.grad is None] == []
        assert all(p.grad.isfinite().all() for p in trained.values())


@pytest.mark.parametrize("name", NAMES)
def test_its_options_are_explained(name):
    """--help takes its words from the docstrings, and a run's file has every option."""
    config = CONFIGS[name]
    docs = "".join(base.__doc__ or "" for base in config.__mro__)
    assert [f.name for f in fields(config) if f"\n        {f.name}: " not in docs] == []
    assert config.title
