"""AIM: the published program's values, its equations at other sizes, and what is dropped."""

from __future__ import annotations

import pytest
import torch
from helpers.models.peer_equations import aim_logits
from helpers.models.peer_states import Sizes, aim_state
from helpers.models.peer_vectors import check, published_state, read

from peclip_fast import InputError, create_model, from_pretrained, load_published
from peclip_fast.models.published.aim import published_views

CLASSES = ("happiness", "sadness", "anger")
SEVEN = [f"class {i}" for i in range(7)]


def load(path, state, **options):
    torch.save({"meta": {"epoch": 30}, "state_dict": state}, path / "aim.pth")
    return load_published(path / "aim.pth", method="aim", **options)


@pytest.fixture
def make(tiny_backbone):
    """A model that is away from its first values."""

    def make(**options):
        torch.manual_seed(0)
        model = create_model("aim", tiny_backbone, classes=CLASSES, **options)
        with torch.no_grad():
            for parameter in model.trained_parameters().values():
                parameter.add_(0.1 * torch.randn_like(parameter))
        return model

    return make


def test_reference_vectors(tmp_path):
    vectors, facts = read("aim_1")
    heads = facts["sizes"]["vision_heads"]
    model = load(tmp_path, published_state(vectors), vision_heads=heads)
    assert model.config.scale == facts["adapter_scale"]
    check(model, published_views, vectors, vectors["input.frames"].transpose(1, 2))
    assert {n: len(group) for n, group in model.parameter_groups().items()} == {
        "adapters": 37, "head": 2, "backbone": 2
    }  # fmt: skip


@pytest.mark.parametrize("input_adapter", [False, True])
@pytest.mark.parametrize(
    ("sizes", "length", "heads"),
    [
        (Sizes(), 3, 3),
        (Sizes(width=64, patch=4, grid=3, layers=3, classes=7, hidden=16), 1, None),
        (Sizes(hidden=7), 6, 1),
    ],
)
def test_equals_the_equations_in_fp64(tmp_path, sizes, length, heads, input_adapter):
    state = aim_state(sizes, length, input_adapter)
    model = load(tmp_path, state, vision_heads=heads, class_texts=None)
    size = sizes.patch * sizes.grid
    frames = torch.randn(2, length, 3, size, size)
    exact = {name: tensor.double() for name, tensor in state.items()}
    scale = 1.0 if input_adapter else 0.5
    expected = aim_logits(exact, frames.double(), heads or sizes.width // 64, scale)
    with torch.no_grad():
        assert (model(frames) - expected).abs().max() <= 1e-5 * expected.abs().max()


def test_saved_and_loaded(tmp_path):
    model = load(tmp_path, aim_state(Sizes(), 4, True), vision_heads=3, class_texts=CLASSES)
    assert model.classes == CLASSES
    model.save_pretrained(tmp_path / "model")
    again, frames = from_pretrained(tmp_path / "model"), torch.rand(1, 4, 3, 16, 16)
    with torch.no_grad():
        assert torch.equal(again(frames), model(frames))


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        ({}, {"text_heads": 2}, "text_heads=2: expected none, as aim reads no texts"),
        ({}, {"temporal_heads": 2}, "temporal_heads=2: expected none, as aim has no heads of its"),
        ({}, {"class_texts": ["one"]}, "class_texts: expected the names of 3 classes, got 1"),
        ({"backbone.conv1.weight": None}, {}, "no aim checkpoint: backbone.conv1.weight missing"),
        (
            {"cls_head.fc_cls.weight": None},
            {},
            "no aim checkpoint: cls_head.fc_cls.weight missing",
        ),
        (
            {"backbone.transformer.resblocks.1.S_Adapter.D_fc2.bias": None},
            {},
            "resblocks.1.S_Adapter.D_fc2.bias is missing",
        ),
        (
            {"backbone.transformer.resblocks.1.MLP_Adapter.D_fc1.bias": torch.zeros(5)},
            {},
            r"MLP_Adapter.D_fc1.bias is \[5\], expected \[20\]",
        ),
    ],
)
def test_other_checkpoints(tmp_path, change, options, message):
    state = aim_state(Sizes(), 3, False) | change
    state = {name: tensor for name, tensor in state.items() if tensor is not None}
    with pytest.raises(InputError, match=message):
        load(tmp_path, state, vision_heads=3, **options)


@pytest.mark.parametrize("head", ["linear", "clip"])
def test_training_starts_from_clip(tiny_backbone, head):
    options = {"head": head, "texts": "class_names", "input_adapter": True}
    model = create_model("aim", tiny_backbone, classes=CLASSES, **options).eval()
    frames = torch.rand(2, 3, 3, 32, 32)
    with torch.no_grad():
        expected = model.vision.pool(
            model.vision.walk(model.vision.embed(model.pixels(frames[0]), None), model.text_hooks())
        )
        if head == "clip":
            expected = model.vision.product(expected)
        features = model.encode_frames(frames, model.frame_hooks(3), (), model.frame_shift(3))[0]
    torch.testing.assert_close(features, expected, atol=1e-5, rtol=1e-5)
    for name, parameter in model.trained_parameters().items():
        if name.endswith("down.weight"):
            assert 0.019 < parameter.std() < 0.021


@pytest.mark.parametrize("backbone", ["ViT-B-16-quickgelu", "ViT-B-32"])
def test_the_published_numbers_of_trained_parameters(backbone):
    def count(classes, **options):
        with torch.device("meta"):
            model = create_model("aim", backbone, classes=classes, **options)
        return sum(model.trained_counts().values())

    adapters, shift, norm, head = 10_651_392, 768 * 16, 1_536, 768 * 7 + 7
    assert count(SEVEN) == 10_670_599 == adapters + shift + norm + head
    texts = {"head": "clip", "texts": "class_names"}
    assert count(SEVEN, **texts) == 10_665_216 == adapters + shift + norm
    assert count(SEVEN, input_adapter=True) == 14_201_856 + shift + norm + head
    assert count([f"class {i}" for i in range(400)], most_frames=32) == 10_985_104


def test_fewer_frames_than_places(make):
    model = make(most_frames=4).eval()
    frames = torch.rand(1, 5, 3, 32, 32)
    with torch.no_grad():
        assert model(frames[:, :2]).shape == (1, 3)
    with pytest.raises(InputError, match="frames: 5 of a clip, expected at most most_frames=4"):
        model(frames)


def test_depth_drops_clips_and_keeps_the_mean(make):
    """Not tokens: a clip has the branch everywhere or nowhere."""
    model = make(stochastic_depth=0.5).train()
    assert model._rates == [0.0, 0.25, 0.5]
    blocks, length, tokens = 64, 3, 17
    x = torch.randn(blocks * length, tokens, 96)
    hooks = model.frame_hooks(length)
    assert hooks.random
    with torch.no_grad():
        # The same clip again and again: what comes differs only by what is dropped.
        x = x[:length].repeat(blocks, 1, 1)
        added = (hooks.enter(2, x) - x).unflatten(0, (blocks, length))
        there = added.flatten(1).abs().amax(1) > 0
        assert 16 < int(there.sum()) < 48
        whole = (model.eval().frame_hooks(length).enter(2, x) - x).unflatten(0, (blocks, length))
        torch.testing.assert_close(added[there], 2 * whole[there], atol=1e-5, rtol=1e-4)
        model.train()
        torch.testing.assert_close(
            hooks.enter(0, x), model.eval().frame_hooks(length).enter(0, x), atol=0, rtol=0
        )
    assert not model.frame_hooks(length).random


def test_depth_of_the_joint_adapter_leaves_the_mlp(make):
    model = make(stochastic_depth=0.9).train()
    length, clips = 2, 8
    x, m = (torch.randn(clips * length, 5, 96) for _ in range(2))
    with torch.no_grad():
        y = model.frame_hooks(length).feed_forward(2, m, x).unflatten(0, (clips, length))
    plain = (x + m).unflatten(0, (clips, length))
    dropped = (y == plain).flatten(1).all(1)
    assert dropped.any()
    assert not (y == plain).flatten(1)[~dropped].all(1).any()


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"hidden": 0}, "hidden=0: expected a whole number of at least 1"),
        ({"most_frames": 0}, "most_frames=0: expected a whole number of at least 1"),
        ({"stochastic_depth": 1.0}, "stochastic_depth=1.0: expected at least 0 and less than 1"),
        ({"head_dropout": -0.1}, "head_dropout=-0.1: expected at least 0 and less than 1"),
        ({"head": "texts"}, "head='texts': expected one of linear, clip"),
    ],
)
def test_options_that_do_not_fit(option, message):
    with pytest.raises(InputError, match=message):
        create_model("aim", **option)
