"""What is shown of a clip is what the model computes."""

from __future__ import annotations

import pytest
import torch

from peclip_fast.config.model import FineCLIPERConfig
from peclip_fast.errors import InputError
from peclip_fast.explain.explanation import explain_clip


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
def test_views_are_of_the_parts_that_there_are(make, frames, config, names):
    explanation = explain_clip(make(**config), frames)
    assert [view.name for view in explanation.views] == names
    for view in explanation.views:
        assert view.rollout.shape == view.gradient.shape == (5, 4, 4)
        assert view.rollout.min() > 0
        assert view.gradient.min() >= 0
        assert view.gradient.max() > 0
    for former, latter in zip(explanation.views, explanation.views[1:], strict=False):
        assert not torch.allclose(former.rollout, latter.rollout, atol=1e-5)


SMALL = {"video_hidden": 8, "cue_hidden": 8, "text_hidden": 8}


@pytest.mark.parametrize("branches", [(), ("parsing", "landmarks", "descriptions")], ids=str)
def test_finecliper(make, frames, branches):
    """No frame sees a later one in the rows of probabilities, whatever the branches."""
    switches = FineCLIPERConfig(**SMALL, **dict.fromkeys(branches, True))
    model = make(method="finecliper", finecliper=switches)
    others = {name: torch.rand_like(frames) for name in branches if name != "descriptions"}
    texts = {"descriptions": model.tokenize(["the brows lower"])[0]} if branches else {}
    explanation = explain_clip(model, frames, **others, **texts)
    assert [view.name for view in explanation.views] == ["frozen CLIP", "full model"]
    for view in explanation.views:
        assert view.rollout.shape == view.gradient.shape == (5, 4, 4)
        assert view.rollout.min() > 0
        assert view.gradient.max() > 0
    assert not torch.allclose(*(view.rollout for view in explanation.views), atol=1e-5)
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


def test_a_model_that_sees_no_frames(make, frames):
    switches = FineCLIPERConfig(**SMALL, frames=False, parsing=True)
    model = make(method="finecliper", finecliper=switches)
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
    for one, other in zip(explanation.views, expected.views, strict=True):
        assert torch.equal(one.gradient, other.gradient)
    assert all(p.grad is None for p in model.parameters())
