"""Saved models come back equal; what doesn't fit is refused and changes nothing."""

from __future__ import annotations

import json

import open_clip
import pytest
import torch
from helpers.models.published_checkpoints import make_published
from helpers.models.tiny_backbone import TINY
from safetensors import safe_open

from peclip_fast import InputError, create_model, from_pretrained, load_published
from peclip_fast.models.backbone import save_backbone

CLASSES = ("happiness", "sadness", "anger")


@pytest.fixture
def model(tiny_backbone):
    model = create_model(backbone=tiny_backbone, classes=CLASSES, prompt_depth=3)
    with torch.no_grad():
        for parameter in model.trained_parameters().values():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model.eval()


@pytest.fixture
def saved(model, tmp_path):
    model.save_pretrained(tmp_path / "model")
    return tmp_path / "model"


def test_round_trip(model, saved):
    again = from_pretrained(saved)
    assert not again.training
    assert again.classes == model.classes
    assert again.config == model.config
    frames = torch.rand(2, 3, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(again(frames), model(frames))


def test_the_file_holds_the_trained_tensors_alone(model, saved):
    with safe_open(saved / "model.safetensors", "pt") as file:
        assert set(file.keys()) == set(model.trained_parameters())
    names = sorted(p.name for p in saved.iterdir())
    assert names == ["README.md", "config.json", "model.safetensors"]
    assert json.loads((saved / "config.json").read_text())["config"]["backbone"]


def test_a_large_model_is_small_on_disk(tmp_path):
    create_model(pretrained=None).save_pretrained(tmp_path)
    assert 37.5e6 < (tmp_path / "model.safetensors").stat().st_size < 37.8e6
    from_pretrained(tmp_path)  # the same random backbone again, or this raises


def test_other_sizes_are_refused_with_names_and_shapes(saved):
    with pytest.raises(
        InputError, match=r"text_adapter\.0\.down\.weight is \[8, 64\], expected \[16, 64\]"
    ):
        from_pretrained(saved, reduction=4)
    with pytest.raises(InputError, match=r"temporal\.0\.norm\.weight is not expected"):
        from_pretrained(saved, temporal=False)


def test_other_classes_are_refused(saved):
    for other in (["fear", "disgust"], ["joy", "rage"]):  # the latter have no action units
        with pytest.raises(
            InputError, match=f"class_tokens is of 3 classes, .*; expected 2, {', '.join(other)}"
        ):
            from_pretrained(saved, classes=other)
    with pytest.raises(InputError, match=r"class_tokens is \[3, \d+\].*expected \[3, \d+\]"):
        from_pretrained(saved, classes=["sadness", "happiness", "anger"])


def test_a_refused_load_changes_nothing(model, tiny_backbone):
    other = create_model(backbone=tiny_backbone, classes=CLASSES, prompt_depth=2)
    before = {n: t.clone() for n, t in other.trained_state().items()}
    with pytest.raises(InputError, match=r"prompts\.text\.2 is not expected"):
        other.load_trained_state(model.trained_state())
    assert all(torch.equal(t, before[n]) for n, t in other.trained_state().items())


def test_another_backbone_is_refused(saved, tmp_path):
    folder = tmp_path / "other"
    save_backbone(open_clip.CLIP(**TINY), TINY, folder)
    with pytest.raises(InputError, match="trained on other frozen weights"):
        from_pretrained(saved, backbone=str(folder))


def test_broken_folders(saved, tmp_path):
    with pytest.raises(InputError, match=r"gone/config\.json: no such file"):
        from_pretrained(tmp_path / "gone")
    whole = (saved / "model.safetensors").read_bytes()
    (saved / "model.safetensors").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match=r"model\.safetensors: not a whole safetensors file"):
        from_pretrained(saved)
    (saved / "config.json").write_text("{")
    with pytest.raises(InputError, match=r"config\.json: broken JSON"):
        from_pretrained(saved)


def test_a_reference_checkpoint_saves_with_its_backbone(tmp_path):
    state, _ = make_published()
    torch.save(state, tmp_path / "m.pth")
    model = load_published(tmp_path / "m.pth")
    model.save_pretrained(tmp_path / "model")
    (tmp_path / "moved").mkdir()
    (tmp_path / "model").rename(tmp_path / "moved" / "model")
    again = from_pretrained(tmp_path / "moved" / "model")
    frames = torch.rand(1, 3, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(again(frames), model(frames))
