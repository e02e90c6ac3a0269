"""The Triton kernels compiled for GPUs that need not be here: nothing spills, all fits."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

pytest.importorskip("triton", reason="triton is not installed")

from peclip_fast.kernels import bottleneck_adapter as kernels
from peclip_fast.kernels.tiles import chunks

# What one block may have on every GPU from sm_80 on (sm_86, 89 and 120 have the least).
SHARED_LIMIT = 99 * 1024


@pytest.mark.parametrize(
    ("hidden", "expected"),
    [
        (96, (64, 32)), (48, (32, 16)), (192, (128, 64)), (64, (64, 0)), (320, (256, 64)),
        (1, (16, 0)), (17, (32, 0)), (24, (32, 0)), (100, (128, 0)), (65, (64, 16)),
    ],
)  # fmt: skip
def test_chunks(hidden: int, expected: tuple[int, int]) -> None:
    assert chunks(hidden) == expected


def test_chunks_pad_little() -> None:
    """At most a third more columns than h, from where tl.dot's least size stops mattering."""
    for hidden in range(36, 321):
        assert hidden <= sum(chunks(hidden)) <= 4 / 3 * hidden


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_every_width_has_a_config(dtype: torch.dtype) -> None:
    for hidden in range(1, 321):
        for blocks in kernels.config(hidden, dtype):
            assert blocks.warps in (4, 8)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("width", "hidden", "dtype", "capability"),
    [
        (768, 96, "bfloat16", 90),
        (768, 96, "bfloat16", 80),
        (768, 192, "bfloat16", 90),
        (1280, 320, "float32", 80),
    ],
)
def test_resources(width: int, hidden: int, dtype: str, capability: int) -> None:
    """In a process of its own, as this one may run Triton's interpreter."""
    script = Path(__file__).with_name("resources.py")
    environment = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"}
    environment["PYTHONPATH"] = os.pathsep.join(sys.path)
    result = subprocess.run(
        [sys.executable, str(script), json.dumps([[[width, hidden, dtype]], [capability]])],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    assert [line["kernel"].partition(".")[2] for line in lines] == ["forward", "rows", "weights"]
    for line in lines:
        assert line["spilled"] == 0, line
        assert line["shared"] <= SHARED_LIMIT, line
