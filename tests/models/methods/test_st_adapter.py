"""ST-Adapter: the published program's values, its equations at other sizes, and its places."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from helpers.models.peer_equations import st_adapter_logits
from helpers.models.peer_states import Sizes, st_adapter_state
from helpers.models.peer_vectors import check, published_state, read

from peclip_fast import InputError, create_model, from_pretrained, load_published
from peclip_fast.models.published.st_adapter import published_views

CLASSES = ("happiness", "sadness", "anger")
SEVEN = [f"class {i}" for i in range(7)]
BOTH = ["pre_attn", "pre_mlp"]


def load(path, state, **options):
    torch.save({"model": state, "next_epoch": 13}, path / "st.pth")
    return load_published(path / "st.pth", method="st_adapter", **options)


def test_reference_vectors(tmp_path):
    vectors, facts = read("st_adapter")
    heads = facts["sizes"]["vision_heads"]
    model = load(tmp_path, published_state(vectors), vision_heads=heads)
    assert (model.config.hidden, model.config.kernel) == (12, (3, 3, 3))
    assert model.config.adapted_blocks == facts["adapter_layers"]
    check(model, published_views, vectors, vectors["input.frames"].transpose(1, 2))


@pytest.mark.parametrize(
    ("kernel", "places", "first"),
    [
        ((3, 1, 1), ["pre_mlp"], 0),
        ((3, 1, 1), BOTH, 0),
        ((1, 3, 3), ["pre_attn"], 1),
        ((5, 1, 3), BOTH, 1),
    ],
    ids=str,
)
@pytest.mark.parametrize(
    ("sizes", "length", "heads"),
    [
        (Sizes(), 4, 3),
        (Sizes(width=64, patch=4, grid=3, layers=3, classes=7, hidden=16), 1, None),
    ],
)
def test_equals_the_equations_in_fp64(tmp_path, sizes, length, heads, kernel, places, first):
    state = st_adapter_state(sizes, kernel, places, first)
    model = load(tmp_path, state, vision_heads=heads)
    size = sizes.patch * sizes.grid
    frames = torch.randn(2, length, 3, size, size)
    exact = {name: tensor.double() for name, tensor in state.items()}
    expected = st_adapter_logits(exact, frames.double(), heads or sizes.width // 64)
    with torch.no_grad():
        assert (model(frames) - expected).abs().max() <= 1e-5 * expected.abs().max()


def test_saved_and_loaded(tmp_path):
    state = st_adapter_state(Sizes(), (3, 1, 1), ["pre_mlp"], 1)
    model = load(tmp_path, state, vision_heads=3, class_texts=CLASSES)
    model.save_pretrained(tmp_path / "model")
    again, frames = from_pretrained(tmp_path / "model"), torch.rand(1, 4, 3, 16, 16)
    assert again.config == replace(model.config, backbone=again.config.backbone)
    with torch.no_grad():
        assert torch.equal(again(frames), model(frames))


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        ({}, {"text_heads": 2}, "text_heads=2: expected none, as st_adapter reads no texts"),
        ({"fc.weight": None}, {}, "no st_adapter checkpoint: fc.weight missing"),
        ({"ln_post.weight": None}, {}, "ln_post.weight is missing"),
        (
            {f"transformer.resblocks.1.adapter_pre_mlp.{n}": None for n in
             ("fc1.weight", "fc1.bias", "conv.weight", "conv.bias", "fc2.weight", "fc2.bias")},
            {},
            r"expected adapters in the last blocks, .* got adapter_pre_mlp in \[0\]",
        ),
        (
            {"transformer.resblocks.1.adapter_pre_mlp.conv.weight": torch.zeros(20, 1, 1, 3, 3)},
            {},
            r"conv.weight is \[20, 1, 1, 3, 3\], expected \[20, 1, 3, 1, 1\]",
        ),
    ],
)  # fmt: skip
def test_other_checkpoints(tmp_path, change, options, message):
    state = st_adapter_state(Sizes(), (3, 1, 1), ["pre_mlp"]) | change
    state = {name: tensor for name, tensor in state.items() if tensor is not None}
    with pytest.raises(InputError, match=message):
        load(tmp_path, state, vision_heads=3, **options)


def test_a_checkpoint_without_adapters(tmp_path):
    with pytest.raises(InputError, match="no st_adapter checkpoint: it has no adapters"):
        load(tmp_path, st_adapter_state(Sizes(), (3, 1, 1), []), vision_heads=3)


@pytest.mark.parametrize("head", ["linear", "clip"])
def test_training_starts_from_clip(tiny_backbone, head):
    """The published head takes the frames' mean before the last norm."""
    options = {"head": head, "texts": "class_names", "before_attention": True}
    model = create_model("st_adapter", tiny_backbone, classes=CLASSES, **options).eval()
    frames, vision = torch.rand(2, 3, 3, 32, 32), model.vision
    with torch.no_grad():
        x = vision.embed(model.pixels(frames).flatten(0, 1), None)
        tokens = vision.walk(x, model.text_hooks()).unflatten(0, (2, 3))
        if head == "linear":
            expected = vision.pool(tokens.mean(1))
        else:
            images = vision.project(tokens.flatten(0, 1)).unflatten(0, (2, 3))
            expected = F.normalize(images.mean(1), dim=-1)
        features = model.encode_clips(frames)
    torch.testing.assert_close(features, expected, atol=1e-5, rtol=1e-5)


def test_what_the_last_block_does_not_read_has_a_gradient_of_zero(tiny_backbone):
    """As several processes wait for one of each tensor."""
    torch.manual_seed(0)
    model = create_model("st_adapter", tiny_backbone, classes=CLASSES, hidden=8).train()
    with torch.no_grad():
        for parameter in model.before_mlp.parameters():
            parameter.normal_()
    model(torch.rand(1, 3, 3, 32, 32)).sum().backward()
    for i, adapter in model.before_mlp.items():
        for parameter in adapter.parameters():
            assert bool(parameter.grad.any()) == (i != "2")


@pytest.mark.parametrize("backbone", ["ViT-B-16-quickgelu", "ViT-B-32"])
def test_the_published_numbers_of_trained_parameters(backbone):
    def count(**options):
        with torch.device("meta"):
            model = create_model("st_adapter", backbone, classes=SEVEN, **options)
        return sum(model.trained_counts().values())

    assert count() == 7_115_527 == 12 * 592_512 + 768 * 7 + 7
    assert count(before_attention=True) == 14_225_671
    assert count(head="clip", texts="class_names") == 12 * 592_512


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"kernel": (2, 1, 1)}, r"kernel=\(2, 1, 1\): expected three odd numbers, such as 3, 1, 1"),
        ({"kernel": (3, 1)}, r"kernel=\(3, 1\): expected three odd numbers"),
        ({"hidden": 0}, "hidden=0: expected a whole number of at least 1"),
        ({"adapted_blocks": 0}, "adapted_blocks=0: expected a whole number of at least 1"),
        ({"adapted_blocks": 4}, "adapted_blocks=4: expected at most the 3 blocks of the backbone"),
        ({"before_mlp": False}, "before_attention, before_mlp: expected at least one of them"),
    ],
)
def test_options_that_do_not_fit(tiny_backbone, option, message):
    with pytest.raises(InputError, match=message):
        create_model("st_adapter", tiny_backbone, **option)
