"""The packaged weights: what they are, that damage is noticed, and what goes wrong with others."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from peclip_fast.errors import InputError
from peclip_fast.faces import models
from peclip_fast.faces.models import BLAZEFACE, FACEMESH, FaceModel, packaged


@pytest.mark.parametrize("weights", [BLAZEFACE, FACEMESH])
def test_each_network_runs_and_tells_its_licence(weights):
    model = FaceModel(packaged(weights), weights.name)
    side = model.shape[1]
    images = np.random.default_rng(0).uniform(-1, 1, (2, side, side, 3)).astype(np.float32)
    both, first = model.run(images), model.run(images[:1])
    for name, values in both.items():
        assert np.isfinite(values).all()
        assert values[:1] == pytest.approx(first[name], abs=1e-4)
        assert not np.array_equal(values[0], values[1])
    assert weights.about()["licence"] == "Apache-2.0 (Google)"


@pytest.mark.parametrize("weights", [BLAZEFACE, FACEMESH])
def test_a_flipped_bit_is_noticed(weights, tmp_path, monkeypatch):
    data = bytearray(packaged(weights))
    data[np.random.default_rng().integers(len(data))] ^= 1
    path = tmp_path / models._FILES[weights]
    path.write_bytes(data)
    monkeypatch.setattr(models, "WEIGHTS", tmp_path)
    with pytest.raises(InputError, match=f"{path.name}: damaged"):
        packaged(weights)
    path.unlink()
    with pytest.raises(InputError, match=f"{path.name}: can't be read"):
        packaged(weights)


def test_what_is_no_network_is_one_line():
    with pytest.raises(InputError, match=r"^mine.onnx: not a model that onnxruntime runs: .+") as e:
        FaceModel(b"no network", "mine.onnx")
    assert len(str(e.value).splitlines()) == 1


def test_without_onnxruntime_the_command_that_installs_it_is_told(monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(
        InputError, match=r"onnxruntime can't be used.*pip install 'peclip-fast\[faces\]'"
    ):
        FaceModel(packaged(BLAZEFACE), BLAZEFACE.name)
