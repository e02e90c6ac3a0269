"""Models with parts left out."""

from __future__ import annotations

import pytest
import torch

from peclip_fast import create_model
from peclip_fast.models.ablation import with_parts

CLASSES = ("happiness", "sadness", "anger")


@pytest.fixture
def model(tiny_backbone):
    model = create_model(backbone=tiny_backbone, classes=CLASSES, prompt_depth=2)
    with torch.no_grad():
        for parameter in model.trained_parameters().values():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model.eval()


@pytest.fixture
def frames():
    return torch.rand(2, 3, 3, 32, 32)


def test_no_part_is_the_frozen_backbone(model, frames):
    from open_clip.tokenizer import tokenize

    frozen = with_parts(model, ())
    assert frozen.trained_parameters() == {}
    with torch.no_grad():
        images = model.backbone.encode_image(frames.flatten(0, 1)).view(2, 3, -1).mean(1)
        texts = model.backbone.encode_text(tokenize(list(model.texts)), normalize=True)
        expected = 100 * torch.nn.functional.normalize(images, dim=-1) @ texts.T
        torch.testing.assert_close(frozen(frames), expected, atol=1e-4, rtol=0)


def test_all_parts_are_the_model(model, frames):
    with torch.no_grad():
        assert torch.equal(with_parts(model, list(model.parts()))(frames), model(frames))


@pytest.mark.parametrize("part", ["text_adapter", "shared_text", "shared_vision", "temporal"])
def test_one_part_is_kept_and_nothing_is_changed(model, frames, part):
    before = {name: tensor.clone() for name, tensor in model.trained_state().items()}
    state = torch.get_rng_state()
    one = with_parts(model, [part])
    assert torch.equal(torch.get_rng_state(), state)
    assert list(one.parts()) == [part]
    assert not one.training
    for name, tensor in one.trained_state().items():
        assert torch.equal(tensor, before[name])
        tensor.zero_()
    for name, tensor in model.trained_state().items():
        assert torch.equal(tensor, before[name])


def test_a_part_that_is_not_there(model):
    with pytest.raises(ValueError, match=r"has the parts .*temporal.*, not tda"):
        with_parts(model, ["tda"])
