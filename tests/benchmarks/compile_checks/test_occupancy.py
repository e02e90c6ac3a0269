"""Blocks per multiprocessor, against values of NVIDIA's calculator and the calculator itself."""

from __future__ import annotations

import itertools
import subprocess
from pathlib import Path

import pytest
import triton

from benchmarks.compile_checks.occupancy import LIMITS, blocks_per_multiprocessor

SOURCE = Path(__file__).with_name("occupancy_calculator.cpp")


@pytest.mark.parametrize(
    ("sm", "threads", "registers", "shared", "blocks"),
    [
        (90, 128, 32, 0, 16),  # threads: 2048
        (86, 128, 32, 0, 12),  # threads: 1536
        (75, 32, 16, 0, 16),  # blocks
        (89, 32, 16, 0, 24),  # blocks
        (90, 256, 128, 0, 2),  # registers
        (90, 128, 129, 0, 3),  # registers: 136 of them, 15 warps
        (80, 96, 168, 0, 4),  # registers: 3 warps in each partition, 12 in all
        (90, 1024, 65, 0, 0),  # registers: not one block
        (80, 128, 32, 81 * 1024, 2),  # shared memory: 82 of 164 KB each
        (80, 128, 32, 81 * 1024 + 1, 1),
        (90, 128, 32, 227 * 1024, 1),
        (90, 128, 32, 227 * 1024 + 1, 0),
        (120, 128, 32, 100 * 1024, 0),
        (75, 128, 32, 32 * 1024, 2),  # nothing is reserved
    ],
)
def test_known_values(sm: int, threads: int, registers: int, shared: int, blocks: int) -> None:
    assert blocks_per_multiprocessor(sm, threads, registers, shared) == blocks


def test_agrees_with_the_calculator(tmp_path: Path) -> None:
    include = Path(triton.__file__).parent / "backends" / "nvidia" / "include"
    program = tmp_path / "calculator"
    subprocess.run(["g++", "-w", f"-I{include}", str(SOURCE), "-o", str(program)], check=True)
    kernels = itertools.product(
        (32, 64, 96, 128, 160, 256, 384, 512, 768, 1024),
        (8, 24, 32, 40, 56, 64, 65, 80, 96, 104, 128, 129, 160, 168, 200, 255),
        (0, 100, 2048, 16384, 32768, 40960, 50176, 53760, 65536, 101376, 102400, 123904, 232448),
    )
    cases = [(sm, *kernel) for sm, kernel in itertools.product(LIMITS, kernels)]
    lines = []
    for sm, *kernel in cases:
        limits = LIMITS[sm]
        gpu = (limits.threads, limits.shared, limits.shared_per_block, limits.reserved)
        lines.append(" ".join(map(str, (sm, *gpu, *kernel))))
    done = subprocess.run(
        [str(program)], input="\n".join(lines), check=True, capture_output=True, text=True
    )
    expected = [int(line) for line in done.stdout.split()]
    assert [blocks_per_multiprocessor(*case) for case in cases] == expected
