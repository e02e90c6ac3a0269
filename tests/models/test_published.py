"""Published checkpoints: the equal model, whatever the sizes; anything else refused by name."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from helpers.oracle import logits as oracle_logits
from helpers.published_checkpoints import TEXTS, make_published
from helpers.published_vectors import published_vectors, token_table

from peclip_fast import InputError, load_reference_checkpoint
from peclip_fast.config.texts import PUBLISHED_ACTION_UNITS
from peclip_fast.models.published import published_name


@pytest.mark.parametrize("name", ["one_clip", "batch_of_two"])
@pytest.mark.parametrize("table", [True, False], ids=["table", "no table"])
def test_reference_vectors(tmp_path, name, table):
    state, vectors, config = published_vectors(name)
    if table:
        state["clip_model.token_embedding.weight"] = token_table(vectors, config)
    torch.save({"state_dict": {f"module.{n}": t for n, t in state.items()}}, tmp_path / "m.pth")
    model = load_reference_checkpoint(tmp_path / "m.pth")
    assert model.classes == tuple(PUBLISHED_ACTION_UNITS)

    got, expected = model(vectors["frames"]), vectors["logits_one_clip_at_a_time"]
    assert (got - expected).abs().max() <= 1e-4 * expected.abs().max()
    if name == "one_clip":
        loss = F.cross_entropy(got, vectors["labels"])
        torch.testing.assert_close(loss, vectors["loss"][0], rtol=1e-4, atol=0)
        loss.backward()
        gradients = {published_name(n): p.grad for n, p in model.trained_parameters().items()}
        wanted = {n.removeprefix("grad."): t for n, t in vectors.items() if n.startswith("grad.")}
        assert gradients.keys() == wanted.keys()
        for key, gradient in wanted.items():
            assert (gradients[key] - gradient).norm() <= 1e-3 * gradient.norm(), key


SIZES = [
    {},
    {"width": 192, "text_width": 128, "layers": 3, "depth": 3, "patch": 4, "grid": 3, "r": 4},
    {"n_ctx": 4, "depth": 1, "r": 16, "patch": 16, "grid": 2},
]


@pytest.mark.parametrize("sizes", SIZES, ids=["small", "wide", "one deep"])
@pytest.mark.parametrize("length", [1, 3, 17])
def test_equals_the_equations_in_fp64(tmp_path, sizes, length):
    state, tokens = make_published(**sizes)
    torch.save(state, tmp_path / "bare.pth")
    model = load_reference_checkpoint(tmp_path / "bare.pth")
    frames = torch.rand(2, length, 3, model.image_size, model.image_size)
    expected = oracle_logits(state, tokens, frames)
    with torch.no_grad():
        assert (model(frames) - expected).abs().max() < 1e-4 * expected.abs().max()


def test_doubled_entries_and_foreign_objects_are_ignored(tmp_path):
    import numpy

    state, _ = make_published()
    doubled = {f"image_encoder.{i}": torch.zeros(i + 1) for i in range(3)}
    wrapped = {"state_dict": {**state, **doubled}, "best": numpy.float64(3.0), "log": Recorder()}
    torch.save(wrapped, tmp_path / "m.pth")
    model = load_reference_checkpoint(tmp_path / "m.pth")
    assert torch.equal(model.prompts.text[0], state["prompt_learner.ctx"])
    assert Recorder.built == 1  # ours alone: loading built none


class Recorder:
    """What a training program might pickle beside its tensors."""

    built = 0

    def __init__(self):
        Recorder.built += 1

    def __setstate__(self, state):
        Recorder.built += 1


def test_texts_of_its_own_are_recovered_from_the_token_table(tmp_path):
    texts = [f"a face that shows feeling number {i}." for i in range(11)]
    state, tokens = make_published(texts)
    torch.save(state, tmp_path / "m.pth")
    frames = torch.rand(1, 2, 3, 32, 32)
    with torch.no_grad():
        recovered = load_reference_checkpoint(tmp_path / "m.pth")(frames)
        told = load_reference_checkpoint(tmp_path / "m.pth", texts)(frames)
    assert torch.equal(recovered, told)
    expected = oracle_logits(state, tokens, frames)
    assert (told - expected).abs().max() < 1e-4 * expected.abs().max()


def test_other_classes_are_refused_with_the_tensors(tmp_path):
    state, _ = make_published([f"text {i}." for i in range(11)])
    torch.save(state, tmp_path / "m.pth")
    with pytest.raises(InputError, match=r"m\.pth.*token_suffix.*11 classes"):
        load_reference_checkpoint(tmp_path / "m.pth", TEXTS)
    del state["clip_model.token_embedding.weight"]
    torch.save(state, tmp_path / "n.pth")
    with pytest.raises(InputError, match="give class_texts"):
        load_reference_checkpoint(tmp_path / "n.pth")


def test_missing_and_misshapen_tensors_are_named(tmp_path):
    state, _ = make_published()
    del state["clip_model.ln_final.bias"]
    state["clip_model.visual.proj"] = torch.zeros(5, 5)
    torch.save(state, tmp_path / "m.pth")
    with pytest.raises(InputError, match=r"ln_final\.bias is missing.*visual\.proj is \[5, 5\]"):
        load_reference_checkpoint(tmp_path / "m.pth")
    torch.save({"weight": torch.zeros(2)}, tmp_path / "n.pth")
    with pytest.raises(InputError, match=r"no PE-CLIP checkpoint.*class_embedding"):
        load_reference_checkpoint(tmp_path / "n.pth")


def test_files_that_are_no_checkpoints(tmp_path):
    with pytest.raises(InputError, match=r"gone\.pth: no such file"):
        load_reference_checkpoint(tmp_path / "gone.pth")
    (tmp_path / "text.pth").write_text("hello")
    with pytest.raises(InputError, match=r"text\.pth: not a checkpoint"):
        load_reference_checkpoint(tmp_path / "text.pth")
    torch.save([1, 2], tmp_path / "list.pth")
    with pytest.raises(InputError, match=r"list\.pth: expected a state dict"):
        load_reference_checkpoint(tmp_path / "list.pth")
