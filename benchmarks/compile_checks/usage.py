"""What a kernel uses, and which kernel that is."""

from __future__ import annotations

from typing import NamedTuple

from benchmarks.compile_checks.occupancy import blocks_per_multiprocessor


class Usage(NamedTuple):
    """Registers of a thread; bytes of stack of a thread; bytes of shared memory of a block."""

    registers: int
    stack: int
    shared: int
    threads: int = 0
    """Of a block; 0 where that is not known."""


class Key(NamedTuple):
    backend: str
    operator: str
    kernel: str
    case: str
    """D, h and dtype."""
    sm: int

    def __str__(self) -> str:
        return f"{self.operator} {self.kernel} ({self.case}) on sm_{self.sm}, {self.backend}"


def blocks(key: Key, usage: Usage) -> int | None:
    """That a multiprocessor holds; None where it is not known how the kernel is launched."""
    if usage.threads == 0:
        return None
    return blocks_per_multiprocessor(key.sm, usage.threads, usage.registers, usage.shared)
