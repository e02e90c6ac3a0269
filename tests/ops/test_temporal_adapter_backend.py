"""What every backend of the temporal adapter gives as an operator."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from helpers.numerics.temporal_adapter_cases import inputs
from torch.utils._python_dispatch import TorchDispatchMode

from peclip_fast.ops.temporal_adapter import SCALINGS, temporal_adapter
from peclip_fast.ops.temporal_adapter.backend import _of_its_own, _storage


class Copies(TorchDispatchMode):
    """Counts the copies of tensors of `size` numbers."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size, self.found = size, []

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None):
        result = function(*args, **(kwargs or {}))
        packet, aten = function.overloadpacket, torch.ops.aten
        if packet in (aten.copy_, aten.clone) and result.numel() == self.size:
            self.found.append(function)
        return result


@pytest.mark.parametrize("backend", ["cpu", "triton"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("scaling", SCALINGS)
def test_the_gradient_of_x_is_not_copied(
    backend: str, scaling: str, dtype: torch.dtype, triton_device: str
) -> None:
    device = triton_device if backend == "triton" else "cpu"
    operands, grad = inputs((2, 3, 5, 32), 8, dtype, scaling)
    leaves = [None if t is None else t.to(device, dtype).requires_grad_() for t in operands]
    y = temporal_adapter(*leaves, scaling=scaling, backend=backend)
    with Copies(grad.numel()) as copies:
        torch.autograd.grad(y, [t for t in leaves if t is not None], grad.to(y))
    assert copies.found == []


def test_what_is_copied() -> None:
    """Parts of a tensor, other dtypes, what was given, and what is given twice."""
    like, whole = torch.zeros(2, 3), torch.ones(2, 3)
    taken = {_storage(like)}
    assert _of_its_own(whole, like, taken) is whole
    rows = torch.ones(4, 3)
    for other in (whole, whole.double(), torch.ones(3, 2).mT, rows[:2], rows[2:], like):
        copy = _of_its_own(other, like, taken)
        assert copy is not other
        assert copy.is_contiguous()
        assert copy.dtype == like.dtype
        assert torch.equal(copy, other.float())
        assert _storage(copy) not in taken
