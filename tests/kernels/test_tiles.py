"""How h is cut, and that every h has block sizes. What the kernels give: tests/ops."""

from __future__ import annotations

import pytest
import torch

pytest.importorskip("triton", reason="triton is not installed")

from peclip_fast.kernels import bottleneck_adapter as kernels
from peclip_fast.kernels.tiles import chunks


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
