"""Products of tiles as tensor cores compute them, with the registers that each lane gives them."""

from __future__ import annotations

import ctypes
from pathlib import Path

import pytest
import torch
from helpers.numerics.shim_memory import WatchedMemory
from torch import Tensor

TYPES = {torch.float32: 0, torch.bfloat16: 1, torch.float16: 2}


def multiply(library: Path, dtype: torch.dtype, a: Tensor, b: Tensor, out: Tensor, lanes: int = 32):
    function = ctypes.CDLL(str(library)).multiply_tiles
    function.restype = ctypes.c_char_p
    with WatchedMemory(library, [a, b]):
        written = torch.empty_like(out).copy_(out)
        addresses = (ctypes.c_void_p(t.data_ptr()) for t in (a, b, written))
        reason = function(TYPES[dtype], lanes, *addresses).decode()
    if reason:
        raise RuntimeError(reason)
    return written


@pytest.mark.parametrize("order", ["forward", "reverse", "1"])
@pytest.mark.parametrize("dtype", TYPES, ids=str)
def test_every_number_finds_its_place(
    tile_kernels: Path, dtype: torch.dtype, order: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whole numbers, of which every dtype and every sum is exact."""
    monkeypatch.setenv("PECLIP_SHIM_ORDER", order)
    generator = torch.Generator().manual_seed(0)
    a, b, out = (
        torch.randint(-8, 9, shape, generator=generator).float()
        for shape in ((16, 32), (32, 8), (16, 8))
    )
    assert torch.equal(multiply(tile_kernels, dtype, a, b, out), out + a @ b)


@pytest.mark.parametrize("dtype", TYPES, ids=str)
def test_a_product_is_the_whole_warps(tile_kernels: Path, dtype: torch.dtype) -> None:
    a, b, out = torch.ones(16, 32), torch.ones(32, 8), torch.zeros(16, 8)
    with pytest.raises(RuntimeError, match="threads 0-23 wait in a warp"):
        multiply(tile_kernels, dtype, a, b, out, lanes=24)
