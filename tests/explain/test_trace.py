"""The traced encoder computes what the model does."""

from __future__ import annotations

import pytest
import torch
from helpers.models.small_towers import save_small

from peclip_fast.explain.explanation import explain_clip
from peclip_fast.explain.trace import trace

CONFIGS = [
    {},
    {"temporal": False},
    {"shared_vision": False},
    {"recurrence": "lstm", "scaling": "input"},
    {"scaling": "none"},
    {"prompts": "coop"},
    {"prompts": "none", "normalize": "clip"},
]


@pytest.mark.parametrize("config", CONFIGS, ids=str)
def test_features_are_the_models_own(make, frames, config):
    model = make(**config)
    with torch.no_grad():
        seen = trace(model, frames)
        features = torch.nn.functional.normalize(seen.features.mean(0), dim=-1)
        torch.testing.assert_close(
            features, model.encode_clips(frames[None])[0], atol=1e-5, rtol=1e-4
        )
    prompts = 2 if config.get("prompts", "maple") == "maple" else 0
    assert seen.patches == 16
    assert [tuple(m.shape) for m in seen.maps] == [(5, 3, 17 + prompts, 17 + prompts)] * 3
    assert seen.renewed == [0, prompts, prompts]
    for maps in seen.maps:
        torch.testing.assert_close(maps.sum(-1), torch.ones(maps.shape[:-1]))
    scaled = config.get("temporal", True) and config.get("scaling") != "none"
    assert len(seen.scales) == (3 if scaled else 0)


@pytest.mark.parametrize("kind", ["eva02", "siglip", "pe-core", "clipa", "gap"])
def test_on_other_backbones(make, frames, tmp_path, kind):
    texts = ["a smile", "a tear", "a frown"]  # short enough for all contexts
    model = make(backbone=save_small(kind, tmp_path), texts=texts)
    with torch.no_grad():
        seen = trace(model, frames)
        features = torch.nn.functional.normalize(seen.features.mean(0), dim=-1)
        expected = model.encode_clips(frames[None])[0]
        torch.testing.assert_close(features, expected, atol=1e-5, rtol=1e-4)
    prefix = 0 if kind in ("siglip", "gap") else 1
    assert (seen.patches, seen.prefix, seen.class_token) == (16, prefix, kind == "eva02")
    assert [m.shape[2] for m in seen.maps] == [18 + prefix] * 3 + [1] * (kind != "eva02")
    assert seen.blocks == 3
    explanation = explain_clip(model, frames)
    for stage in explanation.stages:
        assert stage.rollout.shape == stage.gradient.shape == (5, 4, 4)
        assert stage.rollout.min() > 0
        assert stage.gradient.max() > 0
    # The frozen backbone has no prompts, so its patches and class token hold all of the feature.
    first = explanation.stages[0].rollout.sum((1, 2))
    assert (first > 0.99).all() if prefix == 0 else (first < 1).all()
    assert (explanation.class_scales is not None) == (kind == "eva02")
    assert explanation.token_scales.shape == (3, 5)


def test_scales_are_those_of_the_adapters(make, frames):
    """Equation 8, from what goes into each adapter."""
    model, inputs = make(), []
    for adapter in model.temporal:
        adapter.register_forward_pre_hook(lambda _, given: inputs.append(given[0]))
    with torch.no_grad():
        seen = trace(model, frames)
    assert (seen.scales[0] > 0).any()
    assert (seen.scales[0] == 0).any()
    for adapter, m, found in zip(model.temporal, inputs, seen.scales, strict=True):
        centred = m[0] - m[0].mean(-1, keepdim=True)
        z = centred / (centred.square().mean(-1, keepdim=True) + 1e-5).sqrt()
        z = z * adapter.norm.weight + adapter.norm.bias
        expected = (z * adapter.scale.weight).sum(-1) + adapter.scale.bias
        torch.testing.assert_close(found, expected.clamp_min(0), atol=1e-5, rtol=1e-4)


def test_uint8_frames(make):
    model = make()
    frames = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8)
    with torch.no_grad():
        assert torch.equal(trace(model, frames).features, trace(model, frames / 255).features)
