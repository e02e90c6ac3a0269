"""Processes that don't all come, and what the others say of it."""

from __future__ import annotations

import socket
from datetime import timedelta

import pytest
import torch

from peclip_fast.engine import distributed
from peclip_fast.engine.distributed import World, process_group


@pytest.mark.parametrize("rank", [0, 1])
def test_one_that_never_comes(monkeypatch, rank):
    with socket.socket() as free:
        free.bind(("localhost", 0))
        monkeypatch.setenv("MASTER_PORT", str(free.getsockname()[1]))
    monkeypatch.setenv("MASTER_ADDR", "localhost")
    monkeypatch.setattr(distributed, "MEETING", timedelta(seconds=3))
    world = World(rank, 2, rank, 2)
    with (
        pytest.raises(ConnectionError, match=r"^the 2 processes .* within 0.05 minutes") as caught,
        process_group(world, torch.device("cpu")),
    ):
        raise AssertionError("it began alone")
    assert "\n" not in str(caught.value)
