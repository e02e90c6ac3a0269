"""What a run notes of its time and memory."""

from __future__ import annotations

import resource
from pathlib import Path

import torch

from peclip_fast.engine import recorder
from peclip_fast.engine.recorder import peak_memory


def test_peak_memory_grows_with_what_is_held_and_stays(monkeypatch, tmp_path):
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: False)
    before = peak_memory()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    more = before - pages * resource.getpagesize() + 200 * 2**20  # than is held now
    held = torch.ones(more, dtype=torch.uint8)
    after = peak_memory()
    assert 100 * 2**20 < after - before < 300 * 2**20
    del held
    assert peak_memory() > after - 10 * 2**20  # the count is some pages late
    monkeypatch.setattr(recorder, "STATUS", tmp_path / "none")
    assert peak_memory() >= 0.9 * after  # another count of the same


def test_of_a_gpu_it_is_the_gpus(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda: 12345)
    assert peak_memory() == 12345
