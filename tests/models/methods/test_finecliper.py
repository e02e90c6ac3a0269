"""FineCLIPER: what it computes, what it trains, and that its branches don't meet before the end."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from peclip_fast import FineCLIPER, InputError, create_model, from_pretrained
from peclip_fast.config.methods.finecliper import FineCLIPERConfig
from peclip_fast.models.parts.adapters import BottleneckAdapter

CLASSES = ("happiness", "sadness", "anger")
ALL = {"parsing": True, "landmarks": True, "descriptions": True}
VARIANTS = {
    "video": ({}, 13),
    "cues": ({"parsing": True, "landmarks": True}, 19),
    "text": ({"descriptions": True}, 14),
    "all": (ALL, 20),
}


def randomize(model):
    """Every path away from zero, where up-projections start; the same for a part in any model."""
    with torch.no_grad():
        for name, parameter in model.trained_parameters().items():
            generator = torch.Generator().manual_seed(sum(map(ord, name)) + 1000 * len(name))
            noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
            parameter.add_(0.1 * noise.to(parameter.dtype))
    return model


@pytest.fixture
def make(tiny_backbone):
    def make(classes=CLASSES, seed=0, backend="auto", **switches):
        torch.manual_seed(seed)
        small = {"video_hidden": 12, "cue_hidden": 8, "text_hidden": 10, "temporal_layers": 1}
        return create_model(
            "finecliper", tiny_backbone, classes=classes, backend=backend, **(small | switches)
        )  # fmt: skip

    return make


def inputs_of(model, clips=2, length=3, seed=1):
    generator = torch.Generator().manual_seed(seed)
    given = {}
    for name in ("frames", "parsing", "landmarks", "descriptions"):
        pixels = torch.rand(clips, length, 3, 32, 32, generator=generator)
        texts = ["the brows lower and the lips press together", "the cheeks lift"] * clips
        value = model.tokenize(texts[:clips]) if name == "descriptions" else pixels
        if name in model.inputs:
            given[name] = value
    return given


@pytest.mark.parametrize("variant", VARIANTS)
def test_published_numbers_of_trained_parameters(variant):
    switches, millions = VARIANTS[variant]
    with torch.device("meta"):
        model = create_model("finecliper", **switches)
    assert sum(model.trained_counts().values()) == pytest.approx(millions * 1e6, rel=0.05)
    assert model.frozen_count() == 149_620_737


def formula(model, given):
    """The model as docs/finecliper.md says it, from open_clip's modules, in float64."""
    clip = model.backbone.double()
    state = {n: p.detach().double().requires_grad_() for n, p in model.trained_parameters().items()}
    switches = model.config

    def adapter(part, x):
        hidden = F.gelu(x @ state[f"{part}.down.weight"].T + state[f"{part}.down.bias"])
        return hidden @ state[f"{part}.up.weight"].T + state[f"{part}.up.bias"]

    def attention(block, x, mask=None):
        y = block.ln_1(x)
        return block.attn(y, y, y, need_weights=False, attn_mask=mask)[0]

    def read(tokens, part):
        x = clip.token_embedding(tokens) + clip.positional_embedding[: tokens.shape[1]]
        mask = clip.attn_mask[: tokens.shape[1], : tokens.shape[1]].double()
        for i, block in enumerate(clip.transformer.resblocks):
            x = x + attention(block, x, mask)
            m = block.mlp(block.ln_2(x))
            x = x + m + adapter(f"{part}.{i}", m)
        end = clip.ln_final(x)[torch.arange(len(x)), tokens.argmax(-1)]
        return F.normalize(end @ clip.text_projection, dim=-1)

    def see(name):
        frames = given[name].double().flatten(0, 1)
        visual = clip.visual
        x = visual.conv1(frames).flatten(2).mT
        start = visual.class_embedding.expand(len(x), 1, -1)
        x = visual.ln_pre(torch.cat([start, x], 1) + visual.positional_embedding)
        for i, block in enumerate(visual.transformer.resblocks):
            a = attention(block, x)
            x = x + a + adapter(f"{name}.series.{i}", a)
            z = block.ln_2(x)
            x = x + block.mlp(z) + switches.parallel_scale * adapter(f"{name}.parallel.{i}", z)
        features = visual.ln_post(x[:, 0]) @ visual.proj
        features = features.unflatten(0, given[name].shape[:2])
        if name == "frames":
            x = features + state["temporal.position"][: features.shape[1]]
            prefix = "temporal.layers.0."
            layer = {n.removeprefix(prefix): t for n, t in state.items() if n.startswith(prefix)}
            width, heads = x.shape[-1], max(1, x.shape[-1] // 64)
            norm = [(width,), layer["norm1.weight"], layer["norm1.bias"]]
            y = F.layer_norm(x, *norm)
            q, k, v = (y @ layer["self_attn.in_proj_weight"].T + layer["self_attn.in_proj_bias"]).chunk(3, -1)  # fmt: skip  # noqa: E501
            q, k, v = (t.unflatten(-1, (heads, -1)).transpose(1, 2) for t in (q, k, v))
            maps = (q @ k.mT / q.shape[-1] ** 0.5).softmax(-1)
            y = (maps @ v).transpose(1, 2).flatten(2)
            x = x + y @ layer["self_attn.out_proj.weight"].T + layer["self_attn.out_proj.bias"]
            y = F.layer_norm(x, (width,), layer["norm2.weight"], layer["norm2.bias"])
            y = F.gelu(y @ layer["linear1.weight"].T + layer["linear1.bias"])
            features = x + y @ layer["linear2.weight"].T + layer["linear2.bias"]
        return F.normalize(features.mean(1), dim=-1)

    branches = [
        read(given[name], name) if name == "descriptions" else see(name) for name in model.inputs
    ]
    scores = torch.stack([
        branch @ state["fusion.direction"][i] + state["fusion.bias"][i]
        for i, branch in enumerate(branches)
    ])  # fmt: skip
    shares = scores.softmax(0)
    clips = sum(share[:, None] * branch for share, branch in zip(shares, branches, strict=True))
    clips = F.normalize(clips, dim=-1)
    positive, negative = model.class_tokens.chunk(2)
    logits = 100 * (clips @ read(positive, "positive").T - clips @ read(negative, "negative").T)
    return logits, state


@pytest.mark.parametrize("backend", ["auto", "reference"])
def test_logits_and_gradients_are_the_formula_s(make, backend):
    model = randomize(make(backend=backend, **ALL))
    given = inputs_of(model)
    labels = torch.tensor([2, 0])
    logits = model(**given)
    found = torch.autograd.grad(
        F.cross_entropy(logits, labels), list(model.trained_parameters().values())
    )
    assert all(p.grad is None and not p.requires_grad for p in model.backbone.parameters())
    expected, state = formula(model, given)
    exact = torch.autograd.grad(F.cross_entropy(expected, labels), list(state.values()))
    torch.testing.assert_close(logits.double(), expected, rtol=0, atol=2e-4)
    for name, gradient, truth in zip(state, found, exact, strict=True):
        assert truth.abs().max() > 0, name
        error = (gradient.double() - truth).norm() / truth.norm()
        assert error < 1e-4, (name, float(error))


def test_it_starts_from_clip(make):
    model = make(parsing=True).eval()
    given = inputs_of(model)
    clip = model.backbone
    with torch.no_grad():
        for name, feature in zip(model.inputs, model.encode_branches(**given), strict=True):
            images = clip.encode_image(given[name].flatten(0, 1)).unflatten(0, (2, 3))
            expected = F.normalize(images.mean(1), dim=-1)
            torch.testing.assert_close(feature, expected, rtol=0, atol=1e-5)
        shares = model.weights(model.encode_branches(**given))
    assert torch.equal(shares, torch.full_like(shares, 0.5))


def test_no_branch_changes_another(make):
    """Neither its first values nor its features; and each branch has an effect of its own."""
    whole = make(**ALL).eval()
    start = {n: t.clone() for n, t in whole.trained_state().items()}
    given = inputs_of(randomize(whole))
    with torch.no_grad():
        features = dict(zip(whole.inputs, whole.encode_branches(**given), strict=True))
        logits = whole(**given)
    for missing in whole.inputs:
        left = make(**(ALL | {missing: False})).eval()
        gone = {n for n in start if n.startswith(f"{missing}.")}
        gone |= {n for n in start if n.startswith("temporal.")} if missing == "frames" else set()
        mine = left.trained_state()
        assert mine.keys() == start.keys() - gone
        for name in mine.keys() - {"fusion.direction", "fusion.bias"}:
            assert torch.equal(mine[name], start[name]), name
        randomize(left)
        others = {name: given[name] for name in left.inputs}
        with torch.no_grad():
            found = left.encode_branches(**others)
            assert torch.equal(left.encode_classes(), whole.encode_classes())
            assert not torch.allclose(left(**others), logits, atol=1e-3)
        for name, feature in zip(left.inputs, found, strict=True):
            assert torch.equal(feature, features[name])
    for changed in whole.inputs:
        other = inputs_of(whole, seed=2)[changed].flip(0)
        with torch.no_grad():
            now = whole.encode_branches(**(given | {changed: other}))
        for name, feature in zip(whole.inputs, now, strict=True):
            assert torch.equal(feature, features[name]) == (name != changed)


def test_one_operator_serves_all_adapters(make, monkeypatch):
    called = []
    forward = BottleneckAdapter.forward

    def noted(self, x, residual):
        called.append((self.skip, self.scale))
        return forward(self, x, residual)

    monkeypatch.setattr(BottleneckAdapter, "forward", noted)
    model = make(**ALL)
    model(**inputs_of(model))
    blocks = 3
    assert sorted(called) == sorted(
        [(True, 1.0)] * (3 * blocks + 3 * blocks) + [(False, 0.5)] * (3 * blocks)
    )


def test_switches_of_the_ablations(make):
    assert make(positive_adapter=False).parts().keys() == {"negative", "frames", "temporal"}
    assert make(video_adapter=False, temporal_layers=0).parts().keys() == {"positive", "negative"}
    assert make(frames=False, landmarks=True).inputs == ("landmarks",)
    less = "A person with an expression of less {label}."
    assert not torch.equal(make(negative_text=less).class_tokens, make().class_tokens)


def test_without_negative_texts(make):
    """What is left is the cosine of what a class is; any text may be read in its place."""
    without = {"negative_adapter": False, "negative_text": None}
    model, both = (randomize(make(**switches)).eval() for switches in (without, {}))
    given = inputs_of(model)
    with torch.no_grad():
        texts = both.encode_classes()[0]
        logits = 100 * both.encode_clips(**given) @ texts.T
        torch.testing.assert_close(model(**given), logits, rtol=0, atol=1e-4)
        tokens = model.tokenize([f"A person with an expression of {name}." for name in CLASSES])
        torch.testing.assert_close(model.encode_descriptions(tokens), texts)
    assert model.parts().keys() == {"positive", "frames", "temporal"}


def test_zero_shot_takes_any_classes(make, tmp_path):
    model = randomize(make())
    model.save_pretrained(tmp_path)
    other = from_pretrained(tmp_path, classes=("fear", "contempt"), zero_shot=True)
    with torch.no_grad():
        assert other(**inputs_of(other)).shape == (2, 2)
    expected = randomize(make(classes=("fear", "contempt"))).eval()
    with torch.no_grad():
        assert torch.equal(other(**inputs_of(other)), expected(**inputs_of(other)))


def test_fixed_weights(make):
    model = make(video_weight=0.4, **ALL).eval()
    features = model.encode_branches(**inputs_of(model))
    assert model.weights(features).flatten().tolist() == pytest.approx([0.4, 0.2, 0.2, 0.2])
    assert "fusion" not in model.parts()
    alone = make().eval()
    with torch.no_grad():
        feature = alone.encode_branches(**inputs_of(alone))[0]
        torch.testing.assert_close(alone.encode_clips(**inputs_of(alone)), feature)


def test_what_it_saves_is_what_it_loads(make, tmp_path):
    model = randomize(make(**ALL)).eval()
    model.save_pretrained(tmp_path)
    again = from_pretrained(tmp_path)
    given = inputs_of(model)
    with torch.no_grad():
        assert torch.equal(again(**given), model(**given))
    assert again.config == model.config
    with pytest.raises(InputError, match="of 3 classes"):
        from_pretrained(tmp_path, classes=("fear",))


def test_class_texts_are_kept_until_something_changes(make, monkeypatch):
    model = make().eval()
    reads = []
    read = FineCLIPER.encode_classes
    monkeypatch.setattr(FineCLIPER, "encode_classes", lambda self: reads.append(1) or read(self))
    given = inputs_of(model)
    with torch.no_grad():
        first = model(**given)
        assert torch.equal(model(**given), first)
        assert len(reads) == 1
        model.negative[0].up.bias.add_(0.1)
        assert not torch.equal(model(**given), first)
    assert len(reads) == 2


def test_other_inputs_are_named(make):
    model = make(parsing=True)
    given = inputs_of(model)
    with pytest.raises(InputError, match="inputs: expected frames, parsing, got frames"):
        model(frames=given["frames"])
    with pytest.raises(InputError, match=r"parsing: expected the shape \(clips, frames, 3, 32, 32"):
        model(frames=given["frames"], parsing=given["parsing"][..., :5])
    with pytest.raises(InputError, match="frames has 2, parsing has 1"):
        model(frames=given["frames"], parsing=given["parsing"][:1])
    with pytest.raises(InputError, match="65 of a clip, expected at most 64"):
        make()(frames=torch.rand(1, 65, 3, 32, 32))


@pytest.mark.parametrize(
    ("switches", "message"),
    [
        ({"frames": False}, "at least one branch"),
        ({"negative_text": "no"}, r"negative_text='no': expected \{label\} in it"),
        ({"negative_text": ""}, r"negative_text='': expected \{label\} in it"),
        ({"positive_text": ""}, r"positive_text='': expected \{label\} in it"),
        ({"negative_text": None}, "negative_adapter: expected false where negative_text is null"),
        ({"cue_hidden": 0}, "cue_hidden=0: expected a whole number of at least 1"),
        ({"temporal_layers": -1}, "temporal_layers=-1: expected a whole number of at least 0"),
        ({"video_weight": 0.5}, "and another one"),
        ({"video_weight": 1.5, "parsing": True}, "video_weight=1.5: expected 0 to 1"),
    ],
)
def test_switches_that_fit_nothing(switches, message):
    with pytest.raises(InputError, match=message):
        FineCLIPERConfig(**switches)


def test_methods_keep_to_their_switches():
    with pytest.raises(InputError, match="parsing: not an option of pe_clip"):
        create_model("pe_clip", parsing=True)
    with pytest.raises(InputError, match="reduction: not an option of finecliper"):
        create_model("finecliper", reduction=4)


def test_one_group_of_all_that_is_trained(make):
    model = make(**ALL)
    groups = model.parameter_groups()
    assert list(groups) == ["adapters"]
    assert len(groups["adapters"]) == len(model.trained_parameters())


def test_bf16_autocast(make):
    model = randomize(make(**ALL))
    given = inputs_of(model)
    with torch.autocast("cpu", torch.bfloat16):
        logits = model(**given)
    assert logits.dtype == torch.float32
    assert (logits - model(**given)).abs().max() < 2
