"""Exported files give what their models give, for batches of any size."""

from __future__ import annotations

import functools
import zipfile

import pytest
import torch
from helpers.exporting import read_two
from helpers.forked import Forked
from helpers.models.trained_model import trained

from peclip_fast.errors import InputError
from peclip_fast.export import export as exporting
from peclip_fast.export.export import export_model, random_batch
from peclip_fast.export.formats import FORMATS, read_exported
from peclip_fast.export.program import ClassProbabilities, export_program


@pytest.fixture(scope="module")
def made(tiny_backbone, tmp_path_factory):
    """Gives a method's model, its configuration, its tensors and its program, all made once."""

    @functools.cache
    def make(name):
        model, config = trained(name, tiny_backbone, tmp_path_factory.mktemp(name))
        before = {key: tensor.clone() for key, tensor in model.state_dict().items()}
        batch = random_batch(model, config, 2, torch.Generator().manual_seed(0))
        return model, config, before, export_program(model.merged(), batch)

    return make


@pytest.fixture
def exported(made, monkeypatch):
    """Writes the file of a method, and gives the model, as it was before, and its configuration."""

    def export(name, kind, path):
        model, config, before, program = made(name)
        monkeypatch.setattr(exporting, "export_program", lambda *_: program)
        assert export_model(model, config, kind, path).largest < 1e-5
        after = model.state_dict()
        assert before.keys() == after.keys()
        assert all(torch.equal(before[key], after[key]) for key in before)
        return model, config

    return export


def compared(model, config, path, clips, seed=5):
    about, run = read_exported(path)
    batch = random_batch(model, config, clips, torch.Generator().manual_seed(seed))
    found = torch.from_numpy(run([tensor.numpy() for tensor in batch]))
    with torch.no_grad():
        expected = ClassProbabilities(model).eval()(*batch)
    assert found.shape == (clips, len(about.classes))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


# Of each kind: recurrence, all inputs, attention over time, and what is merged.
@pytest.mark.slow
@pytest.mark.parametrize("name", ["pe_clip", "finecliper", "dfer_clip", "clip_lora"])
def test_batches_of_any_size(name, exported, tmp_path):
    path = tmp_path / "m.pt2"
    model, config = exported(name, "torch", path)
    for clips in (1, 2, 5):
        compared(model, config, path, clips)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "kind"), [("pe_clip", "onnx"), ("pe_clip", "openvino"), ("finecliper", "onnx")]
)
def test_other_runtimes(name, kind, exported, tmp_path):
    pytest.importorskip("onnxscript")
    if kind == "openvino":
        pytest.importorskip("openvino")
    path = tmp_path / f"m{FORMATS[kind].suffix}"
    model, config = exported(name, kind, path)
    for clips in (1, 3, 8):
        compared(model, config, path, clips)
    # OpenVINO has a stack of its own for signals, which must be there as long as it is used.
    forked = Forked(read_two, path, output=tmp_path / "output", errors=tmp_path / "errors")
    said, errors = forked.communicate(120)
    assert (forked.returncode, said) == (0, "terminated\n"), errors


def test_text_encoder_is_left_out(exported, tmp_path):
    path = tmp_path / "m.pt2"
    model, _ = exported("zero_shot", "torch", path)
    vision = sum(p.nbytes for p in model.backbone.visual.parameters())
    text = sum(p.nbytes for p in model.backbone.transformer.parameters())
    assert path.stat().st_size < vision + text / 2


def test_low_rank_changes_are_merged(tiny_backbone, tmp_path):
    model, config = trained("clip_lora", tiny_backbone, tmp_path)
    merged = model.merged()
    assert len(merged.lora["vision"]) == 0 < len(model.lora["vision"])
    (frames,) = random_batch(model, config, 2, torch.Generator().manual_seed(1))
    with torch.no_grad():
        torch.testing.assert_close(merged(frames), model(frames), rtol=1e-5, atol=1e-4)


def test_archives_with_pickles_are_refused(exported, tmp_path):
    path, other = tmp_path / "m.pt2", tmp_path / "other.pt2"
    exported("zero_shot", "torch", path)
    with zipfile.ZipFile(path) as archive, zipfile.ZipFile(other, "w") as copy:
        for name in archive.namelist():
            content = archive.read(name)
            if name.endswith("weights_config.json"):
                content = content.replace(b'"use_pickle": false', b'"use_pickle": true', 1)
            copy.writestr(name, content)
    with pytest.raises(InputError, match=r"other\.pt2: holds a pickle, .*; expected tensors$"):
        read_exported(other)


@pytest.mark.parametrize("suffix", [".pt2", ".onnx", ".xml", ".bin"])
def test_files_that_are_none(suffix, tmp_path):
    path = tmp_path / f"m{suffix}"
    for content in (b"", b"hello", b"PK\x03\x04" * 50):
        path.write_bytes(content)
        with pytest.raises(InputError, match=rf"m\{suffix}: ") as caught:
            read_exported(path)
        assert "\n" not in str(caught.value)
