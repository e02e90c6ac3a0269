"""Idle threads of PyTorch sleep soon, so that a busy neighbour costs little."""

from __future__ import annotations

import os
import sys

import pytest

from peclip_fast import waiting


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in waiting.CHOICES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.setattr(os, "environ", {**os.environ})


def test_before_torch_is_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "torch")
    waiting.wait_by_sleeping()
    assert os.environ[waiting.SPIN] == waiting.ROUNDS


def test_not_after(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", object())
    waiting.wait_by_sleeping()
    assert waiting.SPIN not in os.environ


@pytest.mark.parametrize(("name", "value"), [(waiting.SPIN, "7"), ("OMP_WAIT_POLICY", "active")])
def test_what_the_user_chose_stays(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "torch")
    os.environ[name] = value
    waiting.wait_by_sleeping()
    assert {key: os.environ.get(key) for key in waiting.CHOICES} == {
        **dict.fromkeys(waiting.CHOICES), name: value,
    }  # fmt: skip
