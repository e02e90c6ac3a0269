"""What is shown of a clip is what the model computes."""

from __future__ import annotations

import helpers.models.toy_methods  # noqa: F401 (registers them)
import pytest
import torch

from peclip_fast.errors import InputError
from peclip_fast.explain.explanation import explain_clip
from peclip_fast.explain.trace import trace


@pytest.mark.parametrize("config", [{}, {"recurrence": "lstm"}, {"temporal": False}], ids=str)
def test_probabilities_are_those_of_the_shorter_clips(make, frames, config):
    model = make(**config)
    explanation = explain_clip(model, frames)
    with torch.no_grad():
        for t in range(len(frames)):
            expected = model(frames[None, : t + 1])[0].softmax(0)
            torch.testing.assert_close(explanation.probabilities[t], expected, atol=1e-4, rtol=0)
        assert explanation.predicted == model(frames[None]).argmax()


@pytest.mark.parametrize(
    ("config", "names"),
    [
        ({}, ["frozen CLIP", "CLIP + ShA", "full model"]),
        ({"temporal": False}, ["frozen CLIP", "CLIP + ShA", "full model"]),
        ({"shared_vision": False}, ["frozen CLIP", "full model"]),
        (
            {"temporal": False, "text_adapter": False, "prompts": "none"},
            ["frozen CLIP", "full model"],
        ),
    ],
    ids=str,
)
def test_stages_are_of_the_parts_that_there_are(make, frames, config, names):
    explanation = explain_clip(make(**config), frames)
    assert [stage.name for stage in explanation.stages] == names
    for stage in explanation.stages:
        assert stage.rollout.shape == stage.gradient.shape == (5, 4, 4)
        assert stage.rollout.min() > 0
        assert stage.gradient.min() >= 0
        assert stage.gradient.max() > 0
    for former, latter in zip(explanation.stages, explanation.stages[1:], strict=False):
        assert not torch.allclose(former.rollout, latter.rollout, atol=1e-5)


SMALL = {"video_hidden": 8, "cue_hidden": 8, "text_hidden": 8}


@pytest.mark.parametrize("branches", [(), ("parsing", "landmarks", "descriptions")], ids=str)
def test_finecliper(make, frames, branches):
    """No frame sees a later one in the rows of probabilities, whatever the branches."""
    model = make("finecliper", **SMALL, **dict.fromkeys(branches, True))
    others = {name: torch.rand_like(frames) for name in branches if name != "descriptions"}
    texts = {"descriptions": model.tokenize(["the brows lower"])[0]} if branches else {}
    explanation = explain_clip(model, frames, **others, **texts)
    assert [stage.name for stage in explanation.stages] == ["frozen CLIP", "full model"]
    for stage in explanation.stages:
        assert stage.rollout.shape == stage.gradient.shape == (5, 4, 4)
        assert stage.rollout.min() > 0
        assert stage.gradient.max() > 0
    assert not torch.allclose(*(stage.rollout for stage in explanation.stages), atol=1e-5)
    assert explanation.token_scales is None
    with torch.no_grad():
        for t in range(len(frames)):
            cut = {name: images[None, : t + 1] for name, images in others.items()}
            cut |= {name: tokens[None] for name, tokens in texts.items()}
            expected = model(frames=frames[None, : t + 1], **cut)[0].softmax(0)
            torch.testing.assert_close(explanation.probabilities[t], expected, atol=1e-4, rtol=0)
        weights = model.weights(model.encode_branches(frames=frames[None], **cut))
    found = list(explanation.shares.values())
    assert found == pytest.approx(weights.flatten().tolist() if branches else [], abs=1e-5)


@pytest.mark.parametrize("method", ["aim", "st_adapter", "clip_lora", "toy_dfer"])
def test_other_methods(make, frames, method):
    """Hooks at the entrance and in the attention, shifts, heads and attention over all frames.

    A method whose frames see later ones has the shorter clips encoded anew.
    """
    model = make(method)
    assert model.looks_ahead == (method in ("aim", "st_adapter"))
    with torch.no_grad():
        features = model.encode_frames(
            frames[None], model.frame_hooks(5), (), model.frame_shift(5)
        )[0]  # fmt: skip
        traced = trace(model, frames)
    torch.testing.assert_close(traced.features, features, atol=1e-5, rtol=1e-4)
    assert len(traced.maps) == 3
    explanation = explain_clip(model, frames)
    frozen = "frozen CLIP, trained head" if model.looks_ahead else "frozen CLIP"
    assert [stage.name for stage in explanation.stages] == [frozen, "full model"]
    assert explanation.token_scales is None
    assert explanation.shares == {}
    with torch.no_grad():
        for t in range(len(frames)):
            expected = model(frames[None, : t + 1])[0].softmax(0)
            torch.testing.assert_close(explanation.probabilities[t], expected, atol=1e-4, rtol=0)


def test_a_model_that_sees_no_frames(make, frames):
    model = make("finecliper", **SMALL, frames=False, parsing=True)
    with pytest.raises(InputError, match="see the frames; this one sees parsing"):
        explain_clip(model, frames, parsing=frames)


def test_scales(make, frames):
    explanation = explain_clip(make(), frames)
    assert explanation.class_scales.shape == explanation.token_scales.shape == (3, 5)
    # In the last block no other token reaches the output.
    assert torch.equal(explanation.class_scales[-1], explanation.token_scales[-1])
    assert not torch.equal(explanation.class_scales[0], explanation.token_scales[0])
    for config in ({"temporal": False}, {"scaling": "none"}):
        without = explain_clip(make(**config), frames)
        assert without.class_scales is None
        assert without.token_scales is None


def test_under_no_grad_and_without_traces_in_the_model(make, frames):
    model = make()
    expected = explain_clip(model, frames)
    with torch.no_grad():
        explanation = explain_clip(model, frames)
    for one, other in zip(explanation.stages, expected.stages, strict=True):
        assert torch.equal(one.gradient, other.gradient)
    assert all(p.grad is None for p in model.parameters())
