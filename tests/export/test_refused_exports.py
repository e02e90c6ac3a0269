"""A file that isn't what its model is never has its name, and a good one of before keeps it."""

from __future__ import annotations

import re
import signal

import pytest
import torch
from helpers.exporting import export_signalled
from helpers.forked import Forked
from helpers.models.trained_model import trained

from peclip_fast.errors import InputError
from peclip_fast.export import export as exporting
from peclip_fast.export.export import BOUND, export_model, random_batch
from peclip_fast.export.formats import FORMATS, read_exported
from peclip_fast.export.program import export_program

KINDS = [pytest.param(kind, marks=pytest.mark.slow if kind != "torch" else ()) for kind in FORMATS]


@pytest.fixture(scope="module")
def exported(tiny_backbone, tmp_path_factory):
    """A model, its configuration and its program, which takes longest."""
    model, config = trained("zero_shot", tiny_backbone, tmp_path_factory.mktemp("model"))
    batch = random_batch(model, config, 2, torch.Generator().manual_seed(0))
    return model, config, export_program(model.merged(), batch)


@pytest.fixture
def made(exported, monkeypatch):
    """The model and its configuration; its exports begin with the program."""
    model, config, program = exported
    monkeypatch.setattr(exporting, "export_program", lambda *_: program)
    return model, config


@pytest.fixture(params=KINDS)
def kind(request):
    if request.param != "torch":
        pytest.importorskip("onnxscript")
    if request.param == "openvino":
        pytest.importorskip("openvino")
    return request.param


def changed(monkeypatch, kind, **what):
    monkeypatch.setitem(FORMATS, kind, FORMATS[kind]._replace(**what))


def changing(kind, share):
    """Writes a program whose class features have been turned by some share into each other.

    It is converted once; what comes next are the same bytes.
    """
    write, kept = FORMATS[kind].write, {}

    def written(program, about, path):
        if not kept:
            (name,) = (name for name in program.state_dict if name.endswith("class_features"))
            features = program.state_dict[name]
            program.state_dict[name] = torch.lerp(features, features.roll(1, 0), share)
            write(program, about, path)
            program.state_dict[name] = features
            kept.update(contents(path.parent))
        for name, content in kept.items():
            (path.parent / name).write_bytes(content)

    return written


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_changed_weights_are_refused(kind, made, tmp_path, monkeypatch):
    """With the difference, which is known: the class features stand in another order."""
    model, config = made
    path = tmp_path / f"m{FORMATS[kind].suffix}"
    changed(monkeypatch, kind, write=changing(kind, 1.0))
    files = [path] if FORMATS[kind].weights is None else [path, path.with_suffix(".bin")]
    for former in ({}, {file.name: b"of before" for file in files}):
        for name, content in former.items():
            (tmp_path / name).write_bytes(content)
        with pytest.raises(InputError) as refused:
            export_model(model, config, kind, path)
        said = re.fullmatch(
            rf"{re.escape(str(path))}: its probabilities differ from the model's by up to "
            r"(\d\.\de[+-]\d\d); expected at most 0\.0001, so it isn't kept",
            str(refused.value),
        )
        assert said
        assert contents(tmp_path) == former
    monkeypatch.setattr(exporting, "BOUND", 1.0)
    found = export_model(model, config, kind, path)
    assert said[1] == f"{found.largest:.1e}"
    _, run = read_exported(path)
    generator = torch.Generator().manual_seed(0)
    exporting.random_batch(model, config, 2, generator)
    differences = []
    for clips in exporting.RANDOM_BATCHES:
        (frames,) = exporting.random_batch(model, config, clips, generator)
        with torch.no_grad():
            expected = model(frames).softmax(1)
        given = torch.from_numpy(run([frames.numpy()]))
        differences.append((given - expected).abs().max().item())
        torch.testing.assert_close(given, expected.roll(1, 1), rtol=0, atol=1e-5)
    assert found.largest == pytest.approx(max(differences), abs=1e-6)


def test_differences_within_the_bound_are_told_and_kept(made, tmp_path, monkeypatch):
    model, config = made
    path = tmp_path / "m.pt2"
    changed(monkeypatch, "torch", write=changing("torch", 1e-5))
    found = export_model(model, config, "torch", path)
    assert 0 < found.largest <= BOUND
    assert path.is_file()


def raising(error):
    def run(batch):
        raise error

    return run


@pytest.mark.parametrize(
    ("run", "message"),
    [
        (raising(RuntimeError("no kernel\nfor it")), r"m\.pt2: can't be run \(no kernel for it\)"),
        (lambda batch: torch.full((len(batch[0]), 3), torch.nan).numpy(), r"by up to 1\.0e\+00;"),
        (
            lambda batch: torch.full((len(batch[0]), 1), 0.3).numpy(),
            r"of shape \(1, 1\);.*\(1, 3\)",
        ),
    ],
)
def test_whatever_it_gives_instead(run, message, made, tmp_path, monkeypatch):
    model, config = made
    path = tmp_path / "m.pt2"
    export_model(model, config, "torch", path)
    before = contents(tmp_path)
    read = FORMATS["torch"].read
    changed(monkeypatch, "torch", read=lambda path: (read(path)[0], run))
    with pytest.raises(InputError, match=message) as refused:
        export_model(model, config, "torch", path)
    assert "tmp-" not in str(refused.value)
    assert contents(tmp_path) == before


def test_a_file_that_cannot_be_read_again(made, tmp_path, monkeypatch):
    model, config = made
    path = tmp_path / "m.pt2"
    changed(monkeypatch, "torch", write=lambda program, about, path: path.write_bytes(b"PK"))
    with pytest.raises(InputError, match=rf"^{re.escape(str(path))}: can't be read"):
        export_model(model, config, "torch", path)
    assert contents(tmp_path) == {}


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_signal_during_the_check(number, tiny_run, tmp_path, tmp_path_factory):
    from peclip_fast.commands.export import main as export

    path = tmp_path / "m.pt2"
    argv = [str(tiny_run), "--format", "torch", "--output", str(path)]
    path.write_bytes(b"of before")
    errors = tmp_path_factory.mktemp("said") / "errors"
    forked = Forked(export_signalled, int(number), argv, errors=errors)
    _, said = forked.communicate(300)
    killed = number == signal.SIGKILL
    assert forked.returncode == (-number if killed else 128 + number), said
    assert said.splitlines()[-1:] == ([] if killed else ["terminated"])
    assert path.read_bytes() == b"of before"
    assert len(list(tmp_path.iterdir())) == (2 if killed else 1)  # and what a kill leaves
    if killed:
        assert export(argv) == 0  # clears it away
        assert [found.name for found in tmp_path.iterdir()] == ["m.pt2"]
        read_exported(path)
