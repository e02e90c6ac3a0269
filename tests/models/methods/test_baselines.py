"""Zero-shot CLIP, the linear probe and full fine-tuning."""

from __future__ import annotations

import open_clip
import pytest
import torch
import torch.nn.functional as F

from peclip_fast import create_model
from peclip_fast.models.backbone import load_backbone

CLASSES = ("happiness", "sadness", "anger")


@pytest.fixture
def frames():
    torch.manual_seed(0)
    return torch.rand(2, 3, 3, 32, 32)


@pytest.fixture
def expected(tiny_backbone, frames):
    """What open_clip's own forward pass gives."""
    clip = load_backbone(tiny_backbone)
    with torch.no_grad():
        images = clip.encode_image(frames.flatten(0, 1)).view(2, 3, -1).mean(1)
        texts = clip.encode_text(open_clip.tokenizer.tokenize([c.capitalize() for c in CLASSES]))
    return F.normalize(images, dim=-1), F.normalize(texts, dim=-1)


@pytest.mark.parametrize(
    ("method", "counts"),
    [
        ("zero_shot", {}),
        ("linear_probe", {"head": 3_591}),
        ("full", {"backbone": 149_620_736}),  # all but the scale, which nothing reads
    ],
)
def test_numbers_of_trained_parameters(method, counts):
    with torch.device("meta"):
        model = create_model(method)  # of the seven basic expressions
    assert model.trained_counts() == counts
    assert model.frozen_count() == 149_620_737 - counts.get("backbone", 0)


@pytest.mark.parametrize("method", ["zero_shot", "full"])
def test_they_start_as_clip(method, tiny_backbone, frames, expected):
    images, texts = expected
    model = create_model(method, tiny_backbone, classes=CLASSES, texts="class_names").eval()
    with torch.no_grad():
        torch.testing.assert_close(model(frames), 100 * images @ texts.T, atol=1e-3, rtol=0)


def test_full_trains_both_encoders(tiny_backbone, frames):
    model = create_model("full", tiny_backbone, classes=CLASSES, texts="class_names")
    F.cross_entropy(model(frames), torch.tensor([0, 2])).backward()
    gradients = {n: p.grad for n, p in model.backbone.named_parameters() if p.grad is not None}
    assert gradients.keys() == {n for n, _ in model.backbone.named_parameters()} - {"logit_scale"}
    for name in ("visual.conv1.weight", "token_embedding.weight", "text_projection"):
        assert gradients[name].any()


def test_a_linear_probe_with_the_texts_as_weights_is_zero_shot_clip(
    tiny_backbone, frames, expected
):
    images, texts = expected
    model = create_model("linear_probe", tiny_backbone, classes=CLASSES).eval()
    with torch.no_grad():
        assert not model(frames).any()  # it starts without a preference
        model.head.weight.copy_(texts)
        torch.testing.assert_close(model(frames), 100 * images @ texts.T, atol=1e-3, rtol=0)
        model.head.bias.copy_(torch.tensor([1.0, 2.0, 3.0]))
        shifted = 100 * images @ texts.T + model.head.bias
        torch.testing.assert_close(model(frames), shifted, atol=1e-3, rtol=0)
