"""EmoCLIP: the published program's numbers, its loss, its checkpoints and its sizes."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from helpers.models.peer_vectors import check_gradients, check_logits, published_state, read

from peclip_fast import InputError, configure, create_model, from_pretrained, load_published
from peclip_fast.models.published.emoclip import published_name

HEADS = {"vision_heads": 2, "text_heads": 3, "temporal_heads": 2}
TABLE = "backbone.token_embedding.weight"


@pytest.fixture(scope="module")
def vectors():
    return read("emoclip")


@pytest.fixture
def state(vectors):
    state = published_state(vectors[0])
    state[TABLE] = state.pop("token_embedding.weight")
    return state


def views(tensors):
    return {published_name(name): tensor for name, tensor in tensors.items()}


@pytest.mark.parametrize("start", ["", "module."])
def test_reference_vectors(vectors, state, start, tmp_path):
    """Logits of all classes, and the program's loss with its gradients."""
    recorded, facts = vectors
    torch.save({f"{start}{n}": t for n, t in state.items()}, tmp_path / "m.pth")
    model = load_published(tmp_path / "m.pth", "emoclip", facts["texts"], **HEADS)
    assert not model.training
    labels = recorded["input.target"].long()
    logits = model(recorded["input.frames"])
    check_logits(logits, recorded["output.class_logits"])
    check_logits(logits[:, labels], recorded["output.own_logits"])
    loss = model.loss(logits, F.one_hot(labels, 4).float()) / 2
    check_gradients(model, views, recorded, loss)


def test_the_pixels_of_a_loaded_model(vectors, state, tmp_path):
    """The program's loader takes mean and deviation off; the model can do it as well."""
    recorded, facts = vectors
    torch.save(state, tmp_path / "m.pth")
    model = load_published(tmp_path / "m.pth", "emoclip", facts["texts"], **HEADS, normalize="clip")
    mean = torch.tensor([0.48145466, 0.4578275, 0.40821073]).view(3, 1, 1)
    std = torch.tensor([0.26862954, 0.26130258, 0.27577711]).view(3, 1, 1)
    with torch.no_grad():
        found = model(recorded["input.frames"] * std + mean)
    check_logits(found, recorded["output.class_logits"])
    model.save_pretrained(tmp_path / "saved")
    assert from_pretrained(tmp_path / "saved").config.normalize == "clip"
    with pytest.raises(InputError, match="normalize='CLIP': expected one of none, clip"):
        load_published(tmp_path / "m.pth", "emoclip", facts["texts"], **HEADS, normalize="CLIP")


@pytest.mark.parametrize(
    ("options", "change", "message"),
    [
        ({"class_texts": None}, None, "holds no class texts; give class_texts"),
        ({"temporal_heads": 3}, None, "temporal_heads=3: expected a divisor of 40"),
        ({}, TABLE, f"no EmoCLIP checkpoint: {TABLE} missing"),
        ({}, "logit_scale", "no EmoCLIP checkpoint: logit_scale missing"),
        ({}, "temporal.temporal_transformer.layers.0.0.fn.fn.to_qkv.weight", "to_qkv.weight mis"),
    ],
)
def test_what_is_no_such_checkpoint(vectors, state, tmp_path, options, change, message):
    state.pop(change, None)
    torch.save(state, tmp_path / "m.pth")
    given = {"class_texts": vectors[1]["texts"], **HEADS, **options}
    with pytest.raises(InputError, match=message):
        load_published(tmp_path / "m.pth", "emoclip", **given)


@pytest.mark.parametrize("backbone", ["ViT-B-32-quickgelu", "ViT-B-16-quickgelu"])
@pytest.mark.parametrize(
    ("widths", "total"),
    [({}, 68_689_409), ({"temporal_head_width": 64, "temporal_hidden": 2048}, 6_826_497)],
    ids=["as coded", "exchanged"],
)
def test_numbers_of_trained_parameters(backbone, widths, total):
    with torch.device("meta"):
        model = create_model("emoclip", backbone, classes=["a", "b"], texts="class_names", **widths)
    assert model.trained_counts() == {"temporal": total - 1, "scale": 1}
    assert {n: len(group) for n, group in model.parameter_groups().items()} == {"temporal": 25}


def test_the_loss_counts_clips_of_one_class_as_wrong(tiny_backbone):
    torch.manual_seed(0)
    sizes = {"temporal_head_width": 8, "temporal_hidden": 16, "places": 4}
    given = {"classes": list("abc"), "texts": "class_names", **sizes}
    model = create_model("emoclip", tiny_backbone, **given)
    labels = [0, 1, 1, 2, 1]
    logits = torch.randn(5, 3, dtype=torch.float64)
    total = 0.0
    for i, own in enumerate(labels):
        rows = [logits[i, label].item() for label in labels]
        columns = [logits[j, own].item() for j in range(5)]
        for side in (rows, columns):
            total += (math.log(math.fsum(map(math.exp, side))) - side[i]) / 2
    targets = F.one_hot(torch.tensor(labels), 3).double()
    assert model.loss(logits, targets).item() == pytest.approx(total, abs=1e-12)
    # So that perfect logits leave ln 3 for each of the three clips of one class.
    best = model.loss(1e4 * targets, targets).item()
    assert best == pytest.approx(3 * math.log(3), abs=1e-6)
    plain = create_model("emoclip", tiny_backbone, loss="classes", **given)
    expected = F.cross_entropy(logits, torch.tensor(labels), reduction="sum")
    torch.testing.assert_close(plain.loss(logits, targets), expected)


def test_the_scale_starts_as_clips_and_is_trained(tiny_backbone):
    model = create_model("emoclip", tiny_backbone, classes=["a", "b"], texts="class_names")
    assert model.logit_scale.item() == pytest.approx(100, rel=1e-6)
    clips = F.normalize(torch.randn(2, 32), dim=-1)
    texts = F.normalize(torch.randn(2, 32), dim=-1)
    with torch.no_grad():
        model.scale.log.fill_(math.log(7))
    torch.testing.assert_close(model.logits(clips, texts), 7 * clips @ texts.T)
    model.logits(clips, texts).sum().backward()
    assert model.scale.log.grad.abs() > 0


def test_runs_that_do_not_go_with_its_loss():
    plain = {"model.method": "emoclip", "data.mix.mixup": 0, "data.mix.fmix": 0}
    configure(plain)
    for options, message in [
        ({"data.mix.mixup": 0.4}, r"data.mix: expected mixup 0 and fmix 0, as a mixed clip"),
        ({"train.batch_size": 1}, "train.batch_size=1: expected at least 2 clips"),
        ({"data.frames": 1024}, "data.frames=1024: expected less than model.places=1024"),
    ]:
        with pytest.raises(InputError, match=message):
            configure(plain, options)
    configure(plain, {"model.loss": "classes", "data.mix.mixup": 0.4, "train.batch_size": 1})
