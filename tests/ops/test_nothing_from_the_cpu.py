"""What backends for a GPU do around their kernels takes nothing from the CPU: it would wait."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any
from unittest.mock import MagicMock

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from peclip_fast.ops import extension
from peclip_fast.ops.temporal_adapter import SCALINGS, TemporalWeights, cuda

B, T, L, D, H = 2, 3, 5, 36, 10


class OnTheGPU(TorchDispatchMode):
    """Any tensor that isn't on the GPU is an error, and so is a number read from one."""

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None):
        result = function(*args, **(kwargs or {}))
        for t in tree_leaves((args, kwargs, result)):
            if isinstance(t, Tensor) and t.device.type != "cuda":
                raise AssertionError(f"{function} has a tensor on the {t.device}")
        return result


@pytest.fixture
def gpu() -> Iterator[Callable[..., Tensor]]:
    """Makes tensors that hold nothing, of a GPU that isn't there."""
    with FakeTensorMode(), OnTheGPU():
        yield lambda *shape, dtype=torch.float32: torch.empty(shape, dtype=dtype, device="cuda")


def weights(empty: Callable[..., Tensor], scaling: str) -> TemporalWeights:
    scale = (None, None) if scaling == "none" else (empty(1, D), empty(1))
    return TemporalWeights(
        empty(D), empty(D), *scale, empty(H, D), empty(H), empty(3 * H, H), empty(3 * H, H),
        empty(3 * H), empty(3 * H), empty(D, H), empty(D),
    )  # fmt: skip


@pytest.mark.parametrize("x_dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("scaling", SCALINGS)
def test_temporal_adapter_cuda(
    gpu: Callable[..., Tensor], scaling: str, dtype: torch.dtype, x_dtype: torch.dtype,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(extension, "load", MagicMock)  # kernels that do nothing
    monkeypatch.setattr(Tensor, "data_ptr", lambda t: 1)
    monkeypatch.setattr(torch.cuda, "device_of", lambda t: contextlib.nullcontext())
    monkeypatch.setattr(torch.cuda, "current_stream", MagicMock())
    given, x = weights(gpu, scaling), gpu(B, T, L, D, dtype=x_dtype)
    y, kept = cuda.forward(x, x, given, scaling, dtype, save=True)
    assert y.shape == x.shape
    assert kept is not None
    dx, gradients = cuda.backward(y, x, kept, given, scaling, dtype)
    assert dx.shape == x.shape
    for found, weight in zip(gradients, given, strict=True):
        assert (found is None) == (weight is None)
        assert found is None or found.shape == weight.shape


@pytest.mark.parametrize(
    "wait", [lambda t: t[[0, 1]], lambda t: t + torch.ones(1), lambda t: t.cpu()]
)
def test_what_waits_is_noticed(gpu: Callable[..., Tensor], wait: Callable[..., Any]) -> None:
    with pytest.raises(AssertionError, match="on the cpu"):
        wait(gpu(3, 1))
