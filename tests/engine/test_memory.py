"""Freed memory is kept for the next step, and goes back to the system afterwards."""

from __future__ import annotations

import os
import resource
import subprocess
import sys

import pytest
import torch

from peclip_fast.engine.steps import memory
from peclip_fast.engine.steps.memory import CHOICES, kept_memory

BYTES = 96 * 2**20
TUNABLE = "glibc.malloc.trim_threshold=65536"
PAGES = BYTES // os.sysconf("SC_PAGE_SIZE")


def faults_of_a_block() -> int:
    """Pages that the system hands out for a tensor that is written and freed."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.empty(BYTES, dtype=torch.uint8).fill_(1)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


def main(device: str) -> None:
    """What a process of its own prints: faults within the block, pages that stay, faults after."""
    with kept_memory(torch.device(device)):
        for _ in range(10):  # glibc keeps the first few gaps before an aligned block to itself
            faults_of_a_block()
        print(faults_of_a_block())
    with open("/proc/self/statm") as file:
        print(int(file.read().split()[1]))
    print(faults_of_a_block())


def counted(device: str) -> list[int]:
    code = f"import test_memory; test_memory.main({device!r})"
    kept = {name: value for name, value in os.environ.items() if name not in CHOICES}
    path = os.pathsep.join([os.path.dirname(__file__), *sys.path])
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120,
        env={**kept, "PYTHONPATH": path},
    )  # fmt: skip
    return [int(line) for line in done.stdout.split()]


def test_within_the_block_alone() -> None:
    within, resident, after = counted("cpu")
    assert within < PAGES // 10
    assert after > PAGES // 2
    assert resident < counted("cuda")[1] + PAGES // 10


@pytest.mark.parametrize(
    ("name", "value"), [*((name, "65536") for name in CHOICES), ("GLIBC_TUNABLES", TUNABLE)]
)
def test_what_the_user_chose_stays(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = watched(monkeypatch)
    monkeypatch.setenv(name, value)
    with kept_memory(torch.device("cpu")):
        assert calls == []


def test_nothing_changes_for_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = watched(monkeypatch)
    with kept_memory(torch.device("cpu")):
        assert len(calls) == 2
    assert len(calls) == 2 + 3  # each threshold is what it was, or would have become
    calls.clear()
    with kept_memory(torch.device("cuda")):
        assert calls == []


def watched(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """What malloc is told from now on, if only here."""
    for name in (*CHOICES, "GLIBC_TUNABLES"):
        monkeypatch.delenv(name, raising=False)
    calls: list[tuple[int, int]] = []
    monkeypatch.setattr(memory, "_mallopt", lambda: lambda *given: calls.append(given))
    return calls
