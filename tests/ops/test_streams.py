"""What runs on a stream of its own, and what waits for what; streams are recorded here."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from types import SimpleNamespace
from unittest.mock import Mock

import pytest
import torch

from peclip_fast.ops import streams
from peclip_fast.ops.streams import alongside


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What streams of a GPU that isn't there are told, in order."""
    told: list[str] = []

    def stream(name: str) -> SimpleNamespace:
        return SimpleNamespace(
            record_event=lambda: told.append(f"{name} marks its place") or "place",
            wait_event=lambda event: told.append(f"{name} waits for the {event}"),
            wait_stream=lambda other: told.append(f"{name} waits for {other.name}"),
            name=name,
        )

    @contextlib.contextmanager
    def within(found: SimpleNamespace) -> Iterator[None]:
        told.append(f"to {found.name}")
        yield
        told.append(f"from {found.name}")

    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: stream("main"))
    monkeypatch.setattr(streams, "_side_stream", lambda device: stream("side"))
    monkeypatch.setattr(torch.cuda, "stream", within)
    return told


def test_the_second_runs_on_its_own_stream(log: list[str]) -> None:
    second = Mock(name="tensor")
    second.record_stream = lambda stream: log.append(f"its memory is kept for {stream.name}")

    def call(name: str, result: object) -> object:
        log.append(name)
        return result

    found = alongside(
        torch.device("cuda"), lambda: call("first", 1), lambda: call("second", second)
    )
    assert found == (1, second)
    assert log == [
        "main marks its place", "first", "side waits for the place", "to side", "second",
        "from side", "main waits for side", "its memory is kept for main",
    ]  # fmt: skip


def test_on_the_cpu_there_is_one_stream(log: list[str]) -> None:
    assert alongside(torch.device("cpu"), lambda: 1, lambda: torch.ones(1)) == (1, torch.ones(1))
    assert log == []
