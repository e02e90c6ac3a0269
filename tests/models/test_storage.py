"""Files of tensors: the same for the same content, and refused when a bit has changed."""

from __future__ import annotations

import json

import pytest
import torch
from helpers.damage import damaged
from safetensors.torch import load_file, save_file

from peclip_fast import InputError, create_model, from_pretrained
from peclip_fast.models.storage import read_safetensors, safetensors_bytes, write_safetensors

TENSORS = {"b": torch.arange(12.0).view(3, 4), "a.ü": torch.ones(3, dtype=torch.int64)}
NOTES = {"z": "1", "b": "ü", "a": "2"}


def test_round_trip(tmp_path):
    write_safetensors(tmp_path / "file", TENSORS, NOTES)
    tensors, notes = read_safetensors(tmp_path / "file")
    assert notes == NOTES
    assert tensors.keys() == TENSORS.keys()
    assert all(torch.equal(tensors[name], TENSORS[name]) for name in TENSORS)
    assert load_file(tmp_path / "file").keys() == TENSORS.keys()  # others read it too


def test_the_same_content_is_the_same_file():
    assert len({bytes(safetensors_bytes(TENSORS, NOTES)) for _ in range(20)}) == 1


def test_other_programs_files(tmp_path):
    """Taken where they are expected; damage to their headers is noticed still."""
    save_file(TENSORS, tmp_path / "file", {"format": "pt"})
    assert read_safetensors(tmp_path / "file", ours=False)[1] == {"format": "pt"}
    with pytest.raises(InputError, match=r"file: has no digest: .* another program wrote it"):
        read_safetensors(tmp_path / "file")
    for content in (b"", b"text", b"\xff" * 100):
        (tmp_path / "file").write_bytes(content)
        with pytest.raises(InputError, match="not a whole safetensors file"):
            read_safetensors(tmp_path / "file", ours=False)


@pytest.fixture(scope="module")
def saved(tiny_backbone, tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved")
    model = create_model(backbone=tiny_backbone, classes=("anger", "sadness"), prompt_depth=2)
    model.save_pretrained(folder)
    return folder


@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
def test_damage_to_a_model(saved, name):
    whole = (saved / name).read_bytes()
    try:
        for data in damaged(whole, 60):
            (saved / name).write_bytes(data)
            with pytest.raises(InputError, match=f"^{saved}/"):
                from_pretrained(saved)
    finally:
        (saved / name).write_bytes(whole)


def test_a_description_may_be_laid_out_anew(saved):
    path = saved / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()), indent=4))
    from_pretrained(saved)


def test_a_changed_description_is_refused(saved):
    path = saved / "config.json"
    whole = path.read_text()
    changed = json.loads(whole)
    changed["config"]["reduction"] += 1
    path.write_text(json.dumps(changed))
    with pytest.raises(InputError, match=r"config\.json: damaged or changed: .* as options"):
        from_pretrained(saved)
    path.write_text(whole)


def test_damage_to_a_backbone_of_our_own(tiny_backbone, tmp_path):
    write_safetensors(tmp_path / "file", TENSORS)
    for data in damaged((tmp_path / "file").read_bytes(), 200):
        (tmp_path / "file").write_bytes(data)
        try:
            tensors, _ = read_safetensors(tmp_path / "file", ours=False)
        except InputError:
            continue
        # The words before the digest were hit, and nothing else.
        assert all(torch.equal(tensors[name], TENSORS[name]) for name in TENSORS)
