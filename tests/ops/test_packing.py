"""Several tensors in one."""

from __future__ import annotations

import pytest
import torch

from peclip_fast.ops.packing import pack, packed_size, unpack


@pytest.mark.parametrize("shapes", [[(4, 16), (1,), (2, 8)], [(3,), (5, 7), (16,), (1, 1)]])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_what_is_packed_comes_out(shapes: list[tuple[int, ...]], dtype: torch.dtype) -> None:
    torch.use_deterministic_algorithms(True, warn_only=True)  # fresh memory holds NaN
    tensors = [torch.randn(shape) for shape in shapes]
    flat = pack(tensors, dtype)
    torch.use_deterministic_algorithms(False)
    assert len(flat) == packed_size(tensors, dtype)
    assert flat.isfinite().all()
    for part, t in zip(unpack(flat, tensors), tensors, strict=True):
        assert torch.equal(part, t.to(dtype))
        assert part.storage_offset() % 16 == 0


def test_the_paper_sizes_leave_no_gap() -> None:
    tensors = [torch.randn(shape) for shape in ((1, 768), (1,), (96, 768), (96,), (768, 96))]
    assert packed_size(tensors, torch.bfloat16) == sum(t.numel() for t in tensors)


def test_what_is_right_already_is_not_copied() -> None:
    tensors = [torch.randn(3), torch.randn(2, 5)]
    flat = pack(tensors, torch.float32)
    assert len(flat) == 0
    assert unpack(flat, tensors) == tuple(tensors)
    tensors[1] = tensors[1].mT
    assert len(pack(tensors, torch.float32)) > 0
