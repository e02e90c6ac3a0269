"""The temporal adapter around torch.gru; on a CPU the same function, with PyTorch's own GRU."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from helpers.numerics.rounding import Results, follow, measured, no_worse_than_rounding
from helpers.numerics.temporal_adapter_cases import NAMES, inputs, named, run
from torch import Tensor

from peclip_fast import InputError, create_model
from peclip_fast.ops import temporal_adapter
from peclip_fast.ops.temporal_adapter import (
    SCALINGS,
    TemporalWeights,
    cudnn,
    temporal_adapter_reference,
)

DTYPES = [torch.float32, torch.bfloat16, torch.float16]
SIZES = [((1, 1, 1, 16), 4), ((2, 3, 5, 33), 7), ((1, 17, 3, 24), 12), ((3, 16, 2, 48), 24)]
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
Operands = list[Tensor | None]


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """PyTorch's LayerNorm rounds its weights' gradients once for each."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def both_ways(operands: Operands, grad: Tensor, dtype: torch.dtype, scaling: str) -> Results:
    """What the backend runs on a GPU, on any device."""
    leaves = [None if t is None else t.to(dtype).requires_grad_() for t in operands]
    x, residual, *weights = leaves
    y = temporal_adapter_reference(
        x, residual, TemporalWeights(*weights), scaling=scaling, recurrence=cudnn.recurrence
    )
    grads = iter(torch.autograd.grad(y, [t for t in leaves if t is not None], grad.to(y.dtype)))
    return named([y.detach(), *(None if t is None else next(grads) for t in leaves)])


def check(shape: tuple[int, int, int, int], hidden: int, dtype: torch.dtype, scaling: str) -> None:
    """In half precision by all numbers of a result together: PyTorch's cell rounds elsewhere."""
    operands, grad = inputs(shape, hidden, dtype, scaling)
    found = measured(
        both_ways(operands, grad, dtype, scaling),
        named(run(operands, grad, "reference", torch.float64, scaling)),
        follow(
            lambda given: named(run(given[:-1], given[-1], "reference", dtype, scaling)),
            [*operands, grad],
        ),
    )
    kinds = {"together"} if dtype.itemsize == 2 else {m.measure for m in found}
    worse = [m for m in found if m.measure in kinds and not m.error <= m.allowed]
    assert not worse, "\n".join(map(str, worse))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize(("shape", "hidden"), SIZES, ids=str)
def test_sizes(shape: tuple[int, int, int, int], hidden: int, dtype: torch.dtype) -> None:
    check(shape, hidden, dtype, "after_up")


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("scaling", SCALINGS)
def test_scalings(scaling: str, dtype: torch.dtype) -> None:
    check((2, 4, 3, 32), 8, dtype, scaling)


@pytest.mark.parametrize("x_dtype", [torch.float32, torch.bfloat16], ids=str)
def test_autocast(x_dtype: torch.dtype) -> None:
    """The GRU runs in the dtype of what it is fed; gradients come in the weights' own."""
    operands, grad = inputs((2, 4, 3, 32), 8, torch.bfloat16)

    def under_autocast(backend: str) -> Results:
        leaves = [t.to(x_dtype if i < 2 else torch.float32) for i, t in enumerate(operands)]
        leaves = [t.requires_grad_() for t in leaves]
        x, residual, *weights = leaves
        with torch.autocast("cpu", torch.bfloat16):
            if backend == "reference":
                y = temporal_adapter(*leaves, backend=backend)
            else:
                y = temporal_adapter_reference(
                    x, residual, TemporalWeights(*weights), recurrence=cudnn.recurrence
                )
        return named([y.detach(), *torch.autograd.grad(y, leaves, grad.to(y.dtype))])

    found, expected = under_autocast("cudnn"), under_autocast("reference")
    exact = named(run(operands, grad, "reference", torch.float64, "after_up"))
    for name, result in found.items():
        assert result.dtype == expected[name].dtype, name
        errors = [(t[name].double() - exact[name]).norm() for t in (found, expected)]
        assert errors[0] <= 2 * errors[1] + 2**-8 * exact[name].norm(), name


def test_no_rows() -> None:
    operands, grad = inputs((0, 3, 5, 16), 4)
    found = both_ways(operands, grad, torch.float32, "after_up")
    assert found.keys() == set(NAMES)
    assert found["out"].shape == (0, 3, 5, 16)
    assert not found["weight_hh"].any()


def test_a_cpu_is_refused_by_name() -> None:
    operands, _ = inputs((1, 2, 3, 16), 4)
    with pytest.raises(InputError, match="backend 'cudnn' can't run temporal_adapter: "):
        temporal_adapter(*(t.float() for t in operands), backend="cudnn")


@pytest.mark.parametrize("backend", ["cuda", "cudnn", "triton"])
def test_a_model_takes_it_where_there_is_one(tiny_backbone: str, backend: str) -> None:
    model = create_model(
        backbone=tiny_backbone, classes=("happiness", "anger"), prompt_depth=2, backend=backend
    )
    assert model.temporal[0].backend == backend
    assert model.shared_vision[0].backend == ("triton" if backend == "triton" else "auto")


@needs_gpu
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("scaling", SCALINGS)
def test_on_a_gpu(scaling: str, dtype: torch.dtype, recwarn: pytest.WarningsRecorder) -> None:
    """Without cuDNN's warning of weights that lie apart."""
    operands, grad = inputs((2, 16, 20, 96), 24, dtype, scaling)
    operands, grad = [None if t is None else t.cuda() for t in operands], grad.cuda()
    no_worse_than_rounding(
        named(run(operands, grad, "cudnn", dtype, scaling)),
        named(run(operands, grad, "reference", torch.float64, scaling)),
        follow(
            lambda given: named(run(given[:-1], given[-1], "reference", dtype, scaling)),
            [*operands, grad],
        ),
    )
    assert not [w for w in recwarn if "contiguous chunk" in str(w.message)]
