"""DFER-CLIP: the published program's numbers, its checkpoints and its sizes."""

from __future__ import annotations

import argparse

import pytest
import torch
import torch.nn.functional as F
from helpers.models.peer_vectors import check, check_logits, published_state, read

from peclip_fast import InputError, configure, create_model, from_pretrained, load_published
from peclip_fast.models.published.dfer_clip import TABLE, published_name

HEADS = {"vision_heads": 2, "text_heads": 3, "temporal_heads": 3}
SEVEN = [f"class {i}" for i in range(7)]


class RecorderMeter:
    """What the program's main.py pickles next to its tensors."""

    built = 0

    def __init__(self):
        RecorderMeter.built += 1

    def __setstate__(self, state):
        RecorderMeter.built += 1


@pytest.fixture(scope="module")
def vectors():
    return read("dfer_clip")


@pytest.fixture
def state(vectors):
    state = published_state(vectors[0])
    del state["token_embedding.weight"]  # the embedded texts are enough
    return state


def views(tensors):
    return {published_name(name): tensor for name, tensor in tensors.items()}


def whole(state):
    """With all that the program stores, its encoders twice."""
    full = dict(state)
    for name, tensor in state.items():
        for start, ours in (("image_encoder.", "visual."), ("text_encoder.", "")):
            if name.startswith(start):
                full[f"clip_model_.{ours}{name.removeprefix(start)}"] = tensor
    full["clip_model_.logit_scale"] = torch.tensor(4.6)
    return full


@pytest.mark.parametrize("table", [True, False], ids=["table", "no table"])
@pytest.mark.parametrize("backend", ["auto", "reference"])
def test_reference_vectors(vectors, state, table, backend, tmp_path):
    recorded, facts = vectors
    if table:
        state[TABLE] = published_state(recorded)["token_embedding.weight"]
    full = {f"module.{n}": t for n, t in whole(state).items()}
    recorder = RecorderMeter()
    before = RecorderMeter.built
    content = {
        "epoch": 3, "state_dict": full, "best_acc": 71.25, "recorder": recorder,
        "optimizer": {"param_groups": []}, "args": argparse.Namespace(lr=1.0),
    }  # fmt: skip
    torch.save(content, tmp_path / "model_best.pth")
    texts = None if table else facts["texts"]
    model = load_published(tmp_path / "model_best.pth", "dfer_clip", class_texts=texts, **HEADS)
    assert RecorderMeter.built == before  # nothing of the pickle's own classes was made
    assert not model.training
    object.__setattr__(model.config, "backend", backend)
    if texts:
        assert list(model.texts) == texts
    check(model, views, recorded, recorded["input.frames"])


def test_it_comes_back_from_its_own_files(vectors, state, tmp_path):
    recorded, facts = vectors
    torch.save(state, tmp_path / "bare.pth")
    model = load_published(tmp_path / "bare.pth", "dfer_clip", facts["texts"], **HEADS)
    model.save_pretrained(tmp_path / "saved")
    with torch.no_grad():
        again = from_pretrained(tmp_path / "saved")(recorded["input.frames"])
    check_logits(again, recorded["output.logits"])


def test_one_context_for_all_classes(vectors, state, tmp_path):
    recorded, facts = vectors
    state["prompt_learner.ctx"] = state["prompt_learner.ctx"][0]
    torch.save(state, tmp_path / "m.pth")
    model = load_published(tmp_path / "m.pth", "dfer_clip", facts["texts"], **HEADS)
    assert model.prompts.text[0].shape == (3, 48)
    with torch.no_grad():
        logits = model(recorded["input.frames"])
    # The first class has the context that it had.
    check_logits(logits[:, 0], recorded["output.logits"][:, 0])
    assert (logits - recorded["output.logits"])[:, 1:].abs().max() > 0.1


def test_a_single_head_as_wide_as_the_features(vectors, state, tmp_path):
    """There the program has no product after the attention."""
    recorded, facts = vectors
    for layer in range(2):
        for kind in ("weight", "bias"):
            del state[f"temporal_net.temporal_transformer.layers.{layer}.0.fn.fn.to_out.0.{kind}"]
    torch.save(state, tmp_path / "m.pth")
    heads = {**HEADS, "temporal_heads": 1}
    model = load_published(tmp_path / "m.pth", "dfer_clip", facts["texts"], **heads)
    x = torch.randn(2, 4, 24)
    layer, name = model.temporal.layers[0], "temporal_net.temporal_transformer.layers.0.0.fn"
    y = F.layer_norm(x, (24,), state[f"{name}.norm.weight"], state[f"{name}.norm.bias"])
    q, k, v = (y @ state[f"{name}.fn.to_qkv.weight"].T).chunk(3, -1)
    x = x + (q @ k.mT / 24**0.5).softmax(-1) @ v
    expected = x + layer.mlp_out(F.gelu(layer.mlp_in(layer.norm_2(x)), approximate="tanh"))
    torch.testing.assert_close(
        layer(x - (q @ k.mT / 24**0.5).softmax(-1) @ v), expected, atol=1e-5, rtol=1e-4
    )
    with torch.no_grad():
        assert model(recorded["input.frames"]).isfinite().all()


@pytest.mark.parametrize(
    ("options", "change", "message"),
    [
        ({"temporal_heads": 5}, None, "temporal_heads=5: expected a divisor of 24"),
        ({"temporal_heads": 0}, None, "temporal_heads=0: expected a divisor of 24"),
        ({"vision_heads": None}, None, "vision_heads: expected a number, as the width 32"),
        ({"class_texts": ["a", "b"]}, None, "token_suffix are of 4 classes"),
        ({"class_texts": None}, None, "give class_texts"),
        ({}, "temporal_net.pos_embedding", "temporal_net.pos_embedding missing"),
        ({}, "image_encoder.conv1.weight", "no DFER-CLIP checkpoint: image_encoder.conv1"),
        ({}, "temporal_net.cls_token", "temporal_net.cls_token is missing"),
        ({}, "text_encoder.ln_final.bias", "text_encoder.ln_final.bias is missing"),
        ({}, "prompt_learner.ctx", "no DFER-CLIP checkpoint: prompt_learner.ctx missing"),
    ],
)
def test_what_is_no_such_checkpoint(vectors, state, tmp_path, options, change, message):
    state.pop(change, None)
    torch.save(state, tmp_path / "m.pth")
    given = {"class_texts": vectors[1]["texts"], **HEADS, **options}
    with pytest.raises(InputError, match=message):
        load_published(tmp_path / "m.pth", "dfer_clip", **given)


@pytest.mark.parametrize(
    ("backbone", "total"), [("ViT-B-32-quickgelu", 89_988_352), ("ViT-B-16-quickgelu", 88_331_776)]
)
def test_published_numbers_of_trained_parameters(backbone, total):
    with torch.device("meta"):
        model = create_model("dfer_clip", backbone, classes=SEVEN, texts="class_names")
    counts = model.trained_counts()
    assert (counts["temporal"], counts["prompts"]) == (2_110_464, 28_672)
    assert sum(counts.values()) == total
    assert list(model.parameter_groups()) == ["temporal", "prompts", "backbone"]


def test_first_values(tiny_backbone):
    torch.manual_seed(0)
    model = create_model("dfer_clip", tiny_backbone, classes=SEVEN, texts="class_names")
    temporal, context = model.temporal, model.prompts.text[0]
    assert temporal.position.shape == (1, 17, 32)
    assert abs(temporal.position.std() - 1) < 0.15
    assert abs(temporal.token.std() - 1) < 0.4
    assert context.shape == (7, 8, 64)
    assert abs(context.std() - 0.02) < 0.002
    limit = 32**-0.5  # nn.Linear's
    assert 0.9 * limit < temporal.layers[0].qkv.weight.abs().max() <= limit


def test_options_are_checked(tiny_backbone):
    for options, message in [
        ({"places": 1}, "places=1: expected a whole number of at least 2"),
        ({"temporal_heads": 0}, "temporal_heads=0: expected"),
        ({"context_tokens": -1}, "context_tokens=-1: expected"),
    ]:
        with pytest.raises(InputError, match=message):
            create_model("dfer_clip", tiny_backbone, classes=SEVEN, **options)
    with pytest.raises(InputError, match=r"data.frames=17: expected less than model.places=17"):
        configure({"model.method": "dfer_clip", "data.frames": 17})
    configure({"model.method": "dfer_clip", "data.frames": 16})
    model = create_model("dfer_clip", tiny_backbone, classes=SEVEN, texts="class_names", places=3)
    with pytest.raises(InputError, match="frames: 3 of a clip, expected at most 2"):
        model(torch.rand(1, 3, 3, 32, 32))
