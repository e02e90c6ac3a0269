"""DFER-CLIP's and EmoCLIP's checkpoints of other sizes, against their equations in float64."""

from __future__ import annotations

import open_clip
import pytest
import torch
from helpers.models.class_token_states import (
    Sizes,
    over_time,
    published_encoders,
    text_features,
)

from peclip_fast import load_published

TEXTS = ["a smile.", "lips pressed, brows down.", "wide eyes"]
SIZES = {
    "small": Sizes(),
    "deep": Sizes(layers=3, heads=2, head_width=5, hidden=7, contexts=1, blocks=1),
    "other heads": Sizes(
        width=48, vision_heads=3, text_width=40, text_heads=5, features=24, image=24, patch=8,
        heads=3, head_width=11, places=17, contexts=8, text_blocks=3,
    ),
}  # fmt: skip


@pytest.fixture(params=SIZES)
def sizes(request):
    torch.manual_seed(2)
    return SIZES[request.param]


def given(sizes):
    """What leaves no trace in the tensors, where it isn't the program's own."""
    default = Sizes()
    names = {"vision_heads": "vision_heads", "text_heads": "text_heads", "temporal_heads": "heads"}
    return {
        option: getattr(sizes, name)
        for option, name in names.items()
        if getattr(sizes, name) != getattr(default, name)
    }


def frames_and_features(clip, sizes, length):
    frames = torch.rand(2, length, 3, sizes.image, sizes.image)
    features = clip.encode_image(frames.double().flatten(0, 1))
    return frames, features.unflatten(0, (2, length))


@pytest.mark.parametrize("length", [1, 3, 5])
@torch.no_grad()
def test_dfer_clip(sizes, length, tmp_path):
    clip, temporal = sizes.clip(), sizes.temporal()
    context = 0.3 * torch.randn(len(TEXTS), sizes.contexts, sizes.text_width).double()
    places = " ".join(["X"] * sizes.contexts)
    tokens = open_clip.tokenizer.tokenize([f"{places} {text}" for text in TEXTS])
    embedded = clip.token_embedding(tokens)
    prefix, suffix = embedded[:, :1], embedded[:, 1 + sizes.contexts :]
    encoders = published_encoders(clip, "image_encoder.", "text_encoder.")
    for name in ("token_embedding.weight", "logit_scale"):
        encoders[f"clip_model_.{name}"] = encoders.pop(f"text_encoder.{name}")
    state = {
        **{f"temporal_net.{name}": tensor for name, tensor in temporal.items()},
        **encoders,
        "prompt_learner.ctx": context,
        "prompt_learner.token_prefix": prefix,
        "prompt_learner.token_suffix": suffix,
    }
    torch.save({"state_dict": {n: t.float() for n, t in state.items()}}, tmp_path / "m.pth")
    model = load_published(tmp_path / "m.pth", "dfer_clip", **given(sizes))
    frames, features = frames_and_features(clip, sizes, length)
    texts = text_features(clip, torch.cat([prefix, context, suffix], 1), tokens.argmax(1))
    expected = 100 * over_time(temporal, sizes, features) @ texts.T
    assert (model(frames) - expected).abs().max() <= 1e-4 * expected.abs().max()
    assert list(model.texts) == TEXTS  # from the table alone


@pytest.mark.parametrize("length", [1, 5])
@torch.no_grad()
def test_emoclip(sizes, length, tmp_path):
    clip, temporal = sizes.clip(), sizes.temporal()
    state = {
        **{f"temporal.{name}": tensor for name, tensor in temporal.items()},
        **published_encoders(clip, "backbone.visual.", "backbone."),
        "logit_scale": torch.tensor(3.1),
    }
    torch.save({n: t.float() for n, t in state.items()}, tmp_path / "m.pth")
    model = load_published(tmp_path / "m.pth", "emoclip", TEXTS, **given(sizes))
    frames, features = frames_and_features(clip, sizes, length)
    tokens = open_clip.tokenizer.tokenize(TEXTS)
    texts = text_features(clip, clip.token_embedding(tokens), tokens.argmax(1))
    expected = torch.tensor(3.1).exp() * over_time(temporal, sizes, features) @ texts.T
    assert (model(frames) - expected).abs().max() <= 1e-4 * expected.abs().max()
