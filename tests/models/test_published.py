"""Published checkpoints: the equal model, whatever the sizes; anything else refused by name."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from helpers.models.oracle import logits as oracle_logits
from helpers.models.published_checkpoints import TEXTS, make_published
from helpers.models.published_vectors import published_vectors, token_table

from peclip_fast import InputError, from_pretrained, load_published
from peclip_fast.config.texts import PUBLISHED_ACTION_UNITS
from peclip_fast.models.published.pe_clip import published_name


@pytest.mark.parametrize("name", ["one_clip", "batch_of_two"])
@pytest.mark.parametrize("table", [True, False], ids=["table", "no table"])
def test_reference_vectors(tmp_path, name, table):
    state, vectors, config = published_vectors(name)
    if table:
        state["clip_model.token_embedding.weight"] = token_table(vectors, config)
    torch.save({"state_dict": {f"module.{n}": t for n, t in state.items()}}, tmp_path / "m.pth")
    model = load_published(tmp_path / "m.pth")
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
    model = load_published(tmp_path / "bare.pth")
    frames = torch.rand(2, length, 3, model.image_size, model.image_size)
    expected = oracle_logits(state, tokens, frames)
    with torch.no_grad():
        assert (model(frames) - expected).abs().max() < 1e-4 * expected.abs().max()


def test_doubled_entries_and_foreign_objects_are_ignored(tmp_path):
    import numpy

    (state, _), before = make_published(), Recorder.built
    doubled = {f"image_encoder.{i}": torch.zeros(i + 1) for i in range(3)}
    wrapped = {"state_dict": {**state, **doubled}, "best": numpy.float64(3.0), "log": Recorder()}
    torch.save(wrapped, tmp_path / "m.pth")
    model = load_published(tmp_path / "m.pth")
    assert torch.equal(model.prompts.text[0], state["prompt_learner.ctx"])
    assert Recorder.built == before + 1  # ours alone: loading built none


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "before torch 1.6"])
def test_files_of_old_and_new_torch(tmp_path, zipped):
    import numpy

    state, _ = make_published()
    recorder = Recorder()
    recorder.losses, before = numpy.zeros((3, 2)), Recorder.built
    named = {f"module.{name}": tensor for name, tensor in state.items()}
    content = {"state_dict": named, "recorder": recorder, "best": numpy.float64(3.0)}
    torch.save(content, tmp_path / "m.pth", _use_new_zipfile_serialization=zipped)
    model = load_published(tmp_path / "m.pth")
    assert torch.equal(model.prompts.text[0], state["prompt_learner.ctx"])
    assert Recorder.built == before


class History(dict):
    """A dictionary of a program's own, which torch doesn't read by weights_only."""


def test_what_can_not_be_read_is_told(tmp_path):
    torch.save({"state_dict": {}, "history": History(loss=[1.0])}, tmp_path / "m.pth")
    with pytest.raises(InputError, match=r"m.pth: not a checkpoint .*\(Can only SETITEM for dict"):
        load_published(tmp_path / "m.pth")


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
        recovered = load_published(tmp_path / "m.pth")(frames)
        told = load_published(tmp_path / "m.pth", class_texts=texts)(frames)
    assert torch.equal(recovered, told)
    expected = oracle_logits(state, tokens, frames)
    assert (told - expected).abs().max() < 1e-4 * expected.abs().max()


def test_other_classes_are_refused_with_the_tensors(tmp_path):
    state, _ = make_published([f"text {i}." for i in range(11)])
    torch.save(state, tmp_path / "m.pth")
    with pytest.raises(InputError, match=r"m\.pth.*token_suffix.*11 classes"):
        load_published(tmp_path / "m.pth", class_texts=TEXTS)
    del state["clip_model.token_embedding.weight"]
    torch.save(state, tmp_path / "n.pth")
    with pytest.raises(InputError, match="give class_texts"):
        load_published(tmp_path / "n.pth")


def test_missing_and_misshapen_tensors_are_named(tmp_path):
    state, _ = make_published()
    del state["clip_model.ln_final.bias"]
    state["clip_model.visual.proj"] = torch.zeros(5, 5)
    torch.save(state, tmp_path / "m.pth")
    with pytest.raises(InputError, match=r"ln_final\.bias is missing.*visual\.proj is \[5, 5\]"):
        load_published(tmp_path / "m.pth")
    torch.save({"weight": torch.zeros(2)}, tmp_path / "n.pth")
    with pytest.raises(InputError, match=r"no PE-CLIP checkpoint.*class_embedding"):
        load_published(tmp_path / "n.pth")


def test_files_that_are_no_checkpoints(tmp_path):
    with pytest.raises(InputError, match=r"gone\.pth: no such file"):
        load_published(tmp_path / "gone.pth")
    (tmp_path / "text.pth").write_text("hello")
    with pytest.raises(InputError, match=r"text\.pth: not a checkpoint"):
        load_published(tmp_path / "text.pth")
    torch.save([1, 2], tmp_path / "list.pth")
    with pytest.raises(InputError, match=r"list\.pth: expected a state dict"):
        load_published(tmp_path / "list.pth")


def test_numbers_of_heads(tmp_path):
    """They leave no trace in the tensors, so they are a head for 64 channels, or told."""
    state, _ = make_published(text_width=128)
    torch.save(state, tmp_path / "m.pth")
    plain = load_published(tmp_path / "m.pth")
    told = load_published(tmp_path / "m.pth", vision_heads=2, text_heads=2)
    other = load_published(tmp_path / "m.pth", vision_heads=4, text_heads=8)
    for model, vision, text in ((plain, 2, 2), (told, 2, 2), (other, 4, 8)):
        assert {block.attn.num_heads for block in model.vision.blocks} == {vision}
        assert {block.attn.num_heads for block in model.text.blocks} == {text}
    frames = torch.rand(1, 2, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(told(frames), plain(frames))
        assert not torch.allclose(other(frames), plain(frames), atol=1e-3)
        other.save_pretrained(tmp_path / "saved")
        assert torch.equal(from_pretrained(tmp_path / "saved")(frames), other(frames))
    for options, message in [
        ({"vision_heads": 3}, "vision_heads=3: expected a divisor of the width 128"),
        ({"text_heads": 0}, "text_heads=0: expected a divisor of the width 128"),
        ({"temporal_heads": 8}, "temporal_heads=8: expected none, as pe_clip has no attention"),
    ]:
        with pytest.raises(InputError, match=message):
            load_published(tmp_path / "m.pth", **options)


def test_widths_that_no_heads_of_64_make(tmp_path):
    state, _ = make_published(text_width=96)
    torch.save(state, tmp_path / "m.pth")
    with pytest.raises(InputError, match="text_heads: expected a number, as the width 96"):
        load_published(tmp_path / "m.pth")
    assert load_published(tmp_path / "m.pth", text_heads=3).text.width == 96


def test_methods_without_published_checkpoints(tmp_path):
    state, _ = make_published()
    torch.save(state, tmp_path / "m.pth")
    with pytest.raises(InputError, match=r"m\.pth: published checkpoints .*'finecliper' can't be"):
        load_published(tmp_path / "m.pth", "finecliper")
    with pytest.raises(InputError, match=r"model\.method=pe_clp: expected one of pe_clip"):
        load_published(tmp_path / "m.pth", "pe_clp")
