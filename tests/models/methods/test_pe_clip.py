"""The model as a whole: what it computes, what it trains, what it keeps."""

from __future__ import annotations

import pytest
import torch

from peclip_fast import InputError, create_model

CLASSES = ("happiness", "sadness", "anger")


def randomize(model):
    """Move every path away from zero: up-projections start there, and ReLU may put scales there."""
    with torch.no_grad():
        for name, parameter in model.trained_parameters().items():
            parameter.add_(0.1 * torch.randn_like(parameter))
            if name.endswith("scale.bias"):
                parameter.fill_(2.0)
    return model


@pytest.fixture
def make(tiny_backbone):
    def make(**config):
        torch.manual_seed(0)
        config = {"classes": CLASSES, "prompt_depth": 3, **config}
        return randomize(create_model(backbone=tiny_backbone, **config))

    return make


# Trained parameters on ViT-B/16, by part, for each reduction.
PARTS = {
    4: (1_580_544, 1_580_544, 3_550_464, 6_246_156, 3_555_072),
    8: (793_344, 793_344, 1_779_840, 2_477_964, 3_555_072),
    16: (399_744, 399_744, 894_528, 1_091_532, 3_555_072),
}
NO_PROMPTS = {"prompts": "none", "texts": "class_names"}
ROWS = {
    "table 5: baseline": (
        {"shared_text": False, "shared_vision": False, "temporal": False, **NO_PROMPTS},
        793_344,
    ),
    "table 5: adapters": (NO_PROMPTS, 5_844_492),
    "table 6: TA": ({"shared_text": False, "shared_vision": False, "temporal": False}, 4_348_416),
    "table 6: text": ({"shared_vision": False, "temporal": False}, 5_141_760),
    "table 6: video": ({"text_adapter": False, "shared_text": False}, 7_812_876),
    "table 6: no TDA": ({"temporal": False}, 6_921_600),
    "table 8: vanilla": ({"recurrence": "none"}, 8_729_100),
    "table 8: RNN": ({"recurrence": "rnn"}, 8_952_588),
    "table 8: LSTM": ({"recurrence": "lstm"}, 9_623_052),
    "table 9: r=4": ({"reduction": 4}, 16_512_780),
    "ours": ({}, 9_399_564),
    "table 9: r=16": ({"reduction": 16}, 6_340_620),
    "coop": ({"prompts": "coop"}, 5_845_516),
}


def count(module):
    return sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize("row", ROWS)
def test_trained_parameters_of_the_tables(row):
    config, expected = ROWS[row]
    with torch.device("meta"):
        model = create_model(**config)
    assert sum(p.numel() for p in model.trained_parameters().values()) == expected
    assert sum(p.numel() for p in model.parameters() if p.requires_grad) == expected


@pytest.mark.parametrize("reduction", PARTS)
def test_trained_parameters_by_part(reduction):
    with torch.device("meta"):
        model = create_model(reduction=reduction)
    assert tuple(count(part) for part in model.parts().values()) == PARTS[reduction]
    assert count(model.backbone) == 149_620_737


ABLATIONS = [
    {},
    {"temporal": False},
    {"shared_vision": False, "text_adapter": False},
    {"recurrence": "lstm", "scaling": "input"},
    {"recurrence": "rnn", "scaling": "recurrence"},
    {"recurrence": "none", "scaling": "none"},
    {"scaling": "none"},
    {"scaling": "input"},
    {"scaling": "recurrence"},
    {"prompts": "coop", "context_tokens": 4},
    {"prompts": "none", "texts": "class_names"},
    {"texts": ["a smile", "a tear", "a frown"], "normalize": "clip"},
]


@pytest.mark.parametrize("config", ABLATIONS, ids=str)
def test_every_switch_trains_its_own_and_nothing_else(make, config):
    model = make(**config)
    frozen = {n: p.clone() for n, p in model.backbone.named_parameters()}
    trained = model.trained_parameters()
    before = {n: p.detach().clone() for n, p in trained.items()}
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    frames, labels = torch.rand(2, 3, 3, 32, 32), torch.tensor([0, 2])
    torch.nn.functional.cross_entropy(model(frames), labels).backward()
    assert all(p.grad is None for p in model.backbone.parameters())
    silent = [n for n, p in trained.items() if p.grad is None or not p.grad.any()]
    assert silent == [], "these trained tensors got no gradient"
    optimizer.step()
    assert all(not torch.equal(p, before[n]) for n, p in trained.items())
    assert all(torch.equal(p, frozen[n]) for n, p in model.backbone.named_parameters())


def test_parameter_groups_hold_every_trained_parameter_once(make):
    model = make()
    groups = model.parameter_groups()
    grouped = [id(p) for group in groups.values() for p in group]
    assert sorted(grouped) == sorted(id(p) for p in model.trained_parameters().values())
    assert {id(p) for p in groups["prompts"]} == {id(p) for p in model.prompts.parameters()}


@pytest.mark.parametrize("length", [1, 3, 16, 17])
def test_a_clip_does_not_see_its_neighbours(make, length):
    model = make().eval()
    frames = torch.rand(3, length, 3, 32, 32)
    other = frames.clone()
    other[[0, 2]] = torch.rand(2, length, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(model(frames)[1], model(other)[1])
        assert not torch.equal(model(frames)[0], model(other)[0])


@pytest.mark.parametrize("temporal", [True, False])
def test_the_order_of_frames_matters_with_the_tda_alone(make, temporal):
    model = make(temporal=temporal).eval()
    frames = torch.rand(1, 5, 3, 32, 32)
    with torch.no_grad():
        difference = (model(frames) - model(frames.flip(1))).abs().max()
    assert (difference > 1e-3) == temporal


def test_training_starts_from_clip_along_the_tda(tiny_backbone):
    config = {"classes": CLASSES, "prompts": "none", "shared_vision": False}
    with_tda = create_model(backbone=tiny_backbone, **config)
    without = create_model(backbone=tiny_backbone, temporal=False, **config)
    frames = torch.rand(2, 3, 3, 32, 32)
    plain = with_tda.backbone.encode_image(frames.flatten(0, 1)).view(2, 3, -1).mean(1)
    expected = torch.nn.functional.normalize(plain, dim=-1)
    with torch.no_grad():
        torch.testing.assert_close(with_tda.encode_clips(frames), expected)
        torch.testing.assert_close(without.encode_clips(frames), expected)


def test_text_without_adapters_is_clip(tiny_backbone):
    config = {"prompts": "none", "text_adapter": False, "shared_text": False}
    model = create_model(backbone=tiny_backbone, classes=CLASSES, **config)
    from open_clip.tokenizer import tokenize

    with torch.no_grad():
        expected = model.backbone.encode_text(tokenize(list(model.texts)), normalize=True)
        torch.testing.assert_close(model.encode_classes(), expected)


def test_uint8_and_float_frames_agree(make):
    model = make().eval()
    frames = torch.randint(0, 256, (1, 2, 3, 32, 32), dtype=torch.uint8)
    with torch.no_grad():
        assert torch.equal(model(frames), model(frames / 255))


def test_clip_normalization(make):
    import open_clip

    plain, normalized = make().eval(), make(normalize="clip").eval()
    normalized.load_trained_state(plain.trained_state())
    frames = torch.rand(1, 2, 3, 32, 32)
    mean = torch.tensor(open_clip.OPENAI_DATASET_MEAN).view(3, 1, 1)
    std = torch.tensor(open_clip.OPENAI_DATASET_STD).view(3, 1, 1)
    with torch.no_grad():
        torch.testing.assert_close(normalized(frames), plain((frames - mean) / std))


@pytest.mark.parametrize(
    ("frames", "message"),
    [
        (torch.rand(2, 3, 32, 32), r"got \(2, 3, 32, 32\)"),
        (torch.rand(1, 2, 3, 24, 32), r"\(clips, frames, 3, 32, 32\)"),
        (torch.rand(1, 0, 3, 32, 32), r"got \(1, 0, 3, 32, 32\)"),
        (torch.zeros(1, 2, 3, 32, 32, dtype=torch.int64), r"uint8, or float.*int64"),
    ],
)
def test_frames_of_another_form_are_refused(make, frames, message):
    with pytest.raises(InputError, match=f"frames: expected.*{message}"):
        make()(frames)


def test_configurations_that_do_not_fit_are_refused(tiny_backbone):
    for config, message in [
        ({"prompt_depth": 9}, "prompt_depth=9: expected at most the 3 blocks"),
        ({"reduction": 7}, "reduction=7: expected a divisor of the width"),
        ({"reduction": 0}, "reduction=0: expected a whole number"),
        ({"recurrence": "grru"}, "recurrence='grru': expected one of gru, lstm"),
        ({"texts": ["one"]}, "texts: expected one per class, 3, got 1"),
        ({"texts": ["a " * 90] * 3}, "expected at most 75 with 2 context tokens"),
        ({"classes": ("joy", "anger"), "prompt_depth": 3}, "none for the class 'joy'"),
        ({"classes": ("anger", "anger")}, "classes: expected a list of different names"),
        ({"recurence": "gru"}, "did you mean recurrence"),
        ({"method": "finetune"}, "model.method=finetune: expected one of pe_clip, finecliper"),
    ]:
        settings = {"classes": CLASSES, "prompt_depth": 3, **config}
        with pytest.raises(InputError, match=message):
            create_model(backbone=tiny_backbone, **settings)


class TestKeptTexts:
    """Class texts are encoded once in eval mode and kept until a parameter changes."""

    @pytest.fixture
    def model(self, make):
        return make().eval()

    @pytest.fixture
    def encoded(self, model, monkeypatch):
        """A list that grows with every run of the text encoder."""
        runs, encode = [], model.encode_classes
        monkeypatch.setattr(model, "encode_classes", lambda: runs.append(1) or encode())
        return runs

    @pytest.fixture
    def frames(self):
        return torch.rand(1, 2, 3, 32, 32)

    def test_once(self, model, encoded, frames):
        with torch.no_grad():
            first = model(frames)
            assert torch.equal(model(frames), first)
        with torch.inference_mode():
            model(frames)
        assert len(encoded) == 1

    @pytest.mark.parametrize(
        "change",
        [
            lambda model: model.prompts.text[1].add_(0.5),
            lambda model: model.shared_text[0].up.weight.data.mul_(2),
            lambda model: model.backbone.token_embedding.weight.mul_(1.5),
            lambda model: model.load_trained_state(
                {n: t + 0.1 for n, t in model.trained_state().items()}
            ),
        ],
        ids=["in place", "data", "frozen", "loaded"],
    )
    def test_again_after_a_change(self, model, encoded, frames, change):
        with torch.no_grad():
            before = model(frames)
            change(model)
            assert not torch.equal(model(frames), before)
        assert len(encoded) == 2

    def test_always_with_gradients(self, model, encoded, frames):
        for _ in range(2):
            model(frames).sum().backward()
        model.train()
        with torch.no_grad():
            model(frames)
        assert len(encoded) == 3

    def test_given_by_the_caller(self, model, encoded, frames):
        with torch.no_grad():
            texts = model.encode_classes()
            assert torch.equal(model(frames, texts), model(frames))
        assert len(encoded) == 2


def test_autocast_stays_close(make):
    model = make().eval()
    frames = torch.rand(2, 3, 3, 32, 32)
    with torch.no_grad():
        expected = model(frames)
        with torch.autocast("cpu", torch.bfloat16):
            got = model(frames)
            features = model.encode_clips(frames).norm(dim=-1), model.encode_classes().norm(dim=-1)
    assert got.dtype == torch.float32
    assert (got - expected).abs().max() < 2  # of 100: the cosine to about two places
    for norm in features:
        torch.testing.assert_close(norm, torch.ones_like(norm), atol=1e-5, rtol=0)
