"""Linear heads: on every kind of pooling, and without a text anywhere."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from helpers.models.small_towers import SIZE, WordTokenizer, save_small

from peclip_fast import create_model, from_pretrained
from peclip_fast.explain.explanation import explain_clip
from peclip_fast.models.ablation import with_parts

CLASSES = ("happiness", "sadness", "anger")
KINDS = ("clip", "eva02", "siglip", "pe-core", "clip-mean", "gap")


@pytest.fixture(scope="module", params=KINDS)
def backbone(request, tmp_path_factory):
    return request.param, save_small(request.param, tmp_path_factory.mktemp(request.param))


@pytest.fixture(params=["aim", "st_adapter"])
def model(request, backbone):
    """Away from its first values, in eval mode."""
    torch.manual_seed(0)
    kind, folder = backbone
    tokenizer = WordTokenizer() if kind == "siglip" else None
    options = {"classes": CLASSES, "hidden": 8, "tokenizer": tokenizer}
    model = create_model(request.param, folder, **options)
    with torch.no_grad():
        for parameter in model.trained_parameters().values():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model.eval()


def test_logits_are_a_linear_map_of_the_clip(model):
    """As wide as the image encoder; with gradients, after saving and in what explain draws."""
    frames = torch.rand(2, 3, 3, SIZE, SIZE)
    features = model.encode_clips(frames)
    assert features.shape == (2, model.vision_width)
    logits = model(frames)
    head = model.head
    torch.testing.assert_close(logits, features @ head.weight.T + head.bias)
    assert logits.dtype == torch.float32
    loss = F.cross_entropy(logits, torch.tensor([0, 2]))
    gradients = torch.autograd.grad(loss, list(model.trained_parameters().values()))
    idle = [n for n, g in zip(model.trained_parameters(), gradients, strict=True) if not g.any()]
    last = f"before_mlp.{len(model.vision.blocks) - 1}."
    # What only patches get in the last block is read by nobody where the class token is taken.
    assert all(name.startswith(last) for name in idle)
    assert bool(idle) == (model.vision.queries is not None and hasattr(model, "before_mlp"))
    explanation = explain_clip(model, frames[0])
    torch.testing.assert_close(
        explanation.probabilities[-1], logits[0].softmax(-1).detach(), atol=1e-4, rtol=1e-3
    )


def test_order_counts_and_stays_when_saved(model, tmp_path):
    frames = torch.rand(2, 4, 3, SIZE, SIZE)
    model.save_pretrained(tmp_path)
    again = from_pretrained(tmp_path, tokenizer=model.tokenize.tokenizer)
    with torch.no_grad():
        logits = model(frames)
        assert torch.equal(again(frames), logits)
        assert (model(frames.flip(1)) - logits).abs().max() > 1e-4


def test_the_head_on_the_frozen_clip(model):
    """The stage that explain draws first; without it the head has its first values."""
    (stage,) = model.stages()
    assert stage == ("frozen CLIP, trained head", ("head",))
    frames = torch.rand(1, 3, 3, SIZE, SIZE)
    with torch.no_grad():
        frozen, bare = with_parts(model, stage.kept), with_parts(model, ())
        assert torch.equal(frozen.head.weight, model.head.weight)
        assert torch.equal(frozen.encode_clips(frames), bare.encode_clips(frames))
        assert not torch.equal(frozen(frames), bare(frames))


def test_dropout_is_of_the_feature_and_of_training_only(tiny_backbone):
    model = create_model("st_adapter", tiny_backbone, classes=CLASSES, head_dropout=0.5)
    features = torch.ones(4, model.vision_width)
    with torch.no_grad():
        model.head.weight.copy_(torch.eye(model.vision_width)[:3])
        model.head.bias.zero_()
        assert set(model.logits(features, model.encode_classes()).unique().tolist()) == {0.0, 2.0}
        assert model.eval().logits(features, model.encode_classes()).unique().tolist() == [1.0]
