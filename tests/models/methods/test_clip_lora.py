"""CLIP-LoRA: the published program's values, what is trained, and its dropout."""

from __future__ import annotations

import pytest
import torch
from helpers.models.peer_vectors import check, published_state, read

from peclip_fast import InputError, create_model, from_pretrained, load_published
from peclip_fast.models.published.clip_lora import published_views

HEADS = {"vision_heads": 2, "text_heads": 3}


@pytest.fixture
def published(tmp_path):
    """The vectors, their description, and a function that writes their checkpoint and reads it."""
    vectors, facts = read("clip_lora")

    def load(change=lambda state: state, **options):
        state = change(published_state(vectors))
        torch.save({"state_dict": {f"module.{n}": t for n, t in state.items()}}, tmp_path / "m.pth")
        given = {"class_texts": facts["texts"], **HEADS, **options}
        return load_published(tmp_path / "m.pth", method="clip_lora", **given)

    return vectors, facts, load


@pytest.mark.parametrize("table", [True, False], ids=["table", "rows"])
def test_reference_vectors(published, table):
    vectors, facts, load = published

    def with_rows(state):
        del state["token_embedding.weight"]
        names = ("token_embedding.ids", "token_embedding.rows")
        return {**state, **{name: vectors[name] for name in names}}

    model = load(**({} if table else {"change": with_rows}))
    length = model.class_tokens.shape[1]
    assert torch.equal(model.class_tokens, vectors["input.tokens"][:, :length])
    assert model.texts == tuple(facts["texts"])
    check(model, published_views, vectors, vectors["input.images"][:, None])


def test_saved_and_loaded(published, tmp_path):
    vectors, _, load = published
    model, frames = load(), vectors["input.images"][:, None]
    model.save_pretrained(tmp_path / "model")
    again = from_pretrained(tmp_path / "model")
    with torch.no_grad():
        assert torch.equal(again(frames), model(frames))


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        (lambda s: s, {"class_texts": None}, "class_texts: expected the text of each class"),
        (lambda s: s, {"temporal_heads": 2}, "temporal_heads=2: expected none, as clip_lora has"),
        (lambda s: s, {"text_heads": 5}, "text_heads=5: expected a divisor of the width 48"),
        (
            lambda s: {n: t for n, t in s.items() if "visual.t" not in n},
            {},
            "no clip_lora checkpoint: visual.transformer.resblocks.0.attn.q_proj.w_lora_A missing",
        ),
        (
            lambda s: {n: t for n, t in s.items() if "blocks.1.attn.v_proj.w_lora_B" not in n},
            {},
            "resblocks.1.attn.v_proj.w_lora_B is missing",
        ),
        (
            lambda s: {**s, "transformer.resblocks.0.attn.k_proj.w_lora_A": torch.zeros(3, 48)},
            {},
            r"k_proj.w_lora_A is \[3, 48\], expected \[2, 48\]",
        ),
        (lambda s: {**s, "other": torch.zeros(2)}, {}, "other is not expected"),
    ],
)
def test_other_checkpoints(published, change, options, message):
    with pytest.raises(InputError, match=message):
        published[2](change, **options)


@pytest.mark.parametrize(("rank", "alpha"), [(2, 1.0), (4, 3.0)])
def test_the_change_is_that_of_merged_weights(tiny_backbone, rank, alpha):
    """W + alpha / sqrt(r) B A in the place of W, in both encoders."""
    torch.manual_seed(0)
    options = {"classes": ("happiness", "anger"), "rank": rank, "alpha": alpha}
    model = create_model("clip_lora", tiny_backbone, **options).eval()
    plain = create_model("clip_lora", tiny_backbone, **options).eval()
    frames = torch.rand(2, 3, 3, 32, 32)
    with torch.no_grad():
        before = model(frames)
        for parameter in model.lora.parameters():
            parameter.normal_(std=0.2)
        for name, tower in (("vision", model.vision), ("text", model.text)):
            other = plain.vision if name == "vision" else plain.text
            for change, block in zip(model.lora[name], other.blocks, strict=True):
                added = torch.cat([b @ a for a, b in zip(change.down, change.up, strict=True)])
                block.packed()[0].add_(alpha / rank**0.5 * added)
            assert len(other.blocks) == len(tower.blocks) == 3
        torch.testing.assert_close(model(frames), plain(frames), atol=1e-4, rtol=1e-4)
        assert (model(frames) - before).abs().max() > 0.1


def test_training_starts_from_clip(tiny_backbone):
    model = create_model("clip_lora", tiny_backbone, classes=("happiness", "anger"))
    for name, parameter in model.lora.named_parameters():
        if name.endswith("up"):
            assert not parameter.any()
        else:
            bound = parameter.shape[-1] ** -0.5
            assert 0.9 * bound < parameter.abs().max() <= bound
    assert model.texts[0] == "a photo of a face with an expression of happiness."


def test_dropout_is_drawn_for_queries_keys_and_values(tiny_backbone):
    torch.manual_seed(0)
    part = create_model("clip_lora", tiny_backbone, lora_dropout=0.5).lora["vision"][0]
    with torch.no_grad():
        part.down.copy_(part.down[:1].expand_as(part.down))
        part.up.fill_(1.0)
        y = torch.randn(4, 5, 96)
        q, k, v = part(y).chunk(3, -1)
        assert not torch.equal(q, k)
        assert not torch.equal(k, v)
        q, k, v = part.eval()(y).chunk(3, -1)
        assert torch.equal(q, k)
        assert torch.equal(k, v)


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"rank": 0}, "rank=0: expected a whole number of at least 1"),
        ({"alpha": 0.0}, "alpha=0.0: expected more than 0"),
        ({"lora_dropout": 1.0}, "lora_dropout=1.0: expected at least 0 and less than 1"),
    ],
)
def test_options_that_do_not_fit(option, message):
    with pytest.raises(InputError, match=message):
        create_model("clip_lora", **option)


@pytest.mark.parametrize("backbone", ["ViT-B-16-quickgelu", "ViT-B-32"])
def test_the_published_number_of_trained_parameters(backbone):
    with torch.device("meta"):
        model = create_model("clip_lora", backbone)
    assert model.trained_counts() == {"lora": 184_320}
    of_vision = sum(p.numel() for p in model.lora["vision"].parameters())
    assert of_vision == 110_592
