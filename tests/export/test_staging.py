"""Whatever step of the renaming fails, the files of one export are there: all old or all new."""

from __future__ import annotations

import itertools
import os
import signal

import pytest

from peclip_fast.errors import InputError
from peclip_fast.export.staging import staged
from peclip_fast.stopping import Stopped, watch

NAMES = ("m.xml", "m.bin")
OLD, NEW = dict.fromkeys(NAMES, b"old"), dict.fromkeys(NAMES, b"new")


def write(path):
    with staged(path, ".bin") as side:
        assert side.name == path.name
        for name in NAMES:
            (side.parent / name).write_bytes(b"new")


def files(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


@pytest.fixture(params=[{}, OLD, {"m.bin": b"old"}], ids=["none", "both", "weights"])
def former(request, tmp_path):
    for name, content in request.param.items():
        (tmp_path / name).write_bytes(content)
    return request.param


def test_both_take_their_names(former, tmp_path):
    write(tmp_path / "m.xml")
    assert files(tmp_path) == NEW
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize("step", range(1, 5))
def test_a_step_that_fails(step, former, tmp_path, monkeypatch):
    steps, replace = itertools.count(1), os.replace

    def fail(source, target):
        if next(steps) == step:
            raise OSError(28, "No space left on device", str(source))
        replace(source, target)

    monkeypatch.setattr(os, "replace", fail)
    if step > 2 + len(former):
        write(tmp_path / "m.xml")
        return
    with pytest.raises(OSError, match=r"No space left on device: .*/m\.(xml|bin)'$"):
        write(tmp_path / "m.xml")
    assert files(tmp_path) == former
    assert len(list(tmp_path.iterdir())) == len(former)


@pytest.mark.parametrize("step", range(1, 5))
def test_a_kill_leaves_no_graph_with_weights_of_another(step, former, tmp_path, monkeypatch):
    class Kill(BaseException):
        """Nobody catches it."""

    steps, replace = itertools.count(1), os.replace

    def kill(source, target):
        if next(steps) == step:
            raise Kill
        replace(source, target)

    monkeypatch.setattr(os, "replace", kill)
    if step > 2 + len(former):
        return
    with pytest.raises(Kill):
        write(tmp_path / "m.xml")
    found = files(tmp_path)
    assert "m.xml" not in found or found == former


@pytest.mark.parametrize("step", range(1, 5))
def test_a_signal_waits_for_the_last_name(step, tmp_path, monkeypatch):
    steps, replace = itertools.count(1), os.replace

    def signalled(source, target):
        if next(steps) == step:
            signal.raise_signal(signal.SIGTERM)  # in this thread, before it returns
        replace(source, target)

    for name in NAMES:
        (tmp_path / name).write_bytes(b"old")
    monkeypatch.setattr(os, "replace", signalled)
    with pytest.raises(Stopped), watch():
        write(tmp_path / "m.xml")
    assert files(tmp_path) == NEW
    assert len(list(tmp_path.iterdir())) == 2


def test_errors_name_the_file_and_not_the_place_beside(tmp_path):
    path = tmp_path / "m.xml"
    with pytest.raises(InputError) as refused, staged(path) as side:
        raise InputError(f"{side}: no good")
    assert str(refused.value) == f"{path}: no good"
    with pytest.raises(OSError) as failed, staged(path) as side:
        (side.parent / "absent" / "file").write_bytes(b"")
    assert failed.value.filename == str(path)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_of_that_name(tmp_path):
    (tmp_path / "m.xml").mkdir()
    with pytest.raises(InputError, match=r"m\.xml: a folder; expected the name of a file"):
        write(tmp_path / "m.xml")
    assert [path.name for path in tmp_path.iterdir()] == ["m.xml"]


def test_folders_that_there_are_not_yet_are_made(tmp_path):
    write(tmp_path / "a" / "b" / "m.xml")
    assert files(tmp_path / "a" / "b") == NEW
