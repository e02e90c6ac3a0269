"""The bottleneck adapter's CPU backend against fp64, and the operator around it.

What all backends share is tested in test_bottleneck_adapter.py.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest
import torch
from helpers.numerics.bottleneck_adapter_cases import (
    MIXES,
    NAMES,
    OPS,
    check_against_fp64,
    check_autocast,
    inputs,
    run,
)
from helpers.numerics.comparison import ALONE, FLOATS, LAYOUTS
from helpers.numerics.rounding import follow, no_worse_than_rounding
from torch import Tensor

from peclip_fast.errors import InputError
from peclip_fast.ops import bottleneck_adapter, extension
from peclip_fast.ops.products import product

BF16 = torch.bfloat16
# What AMX takes in bf16, with broken blocks of rows, and what it does not.
SIZES = [
    ((2, 19, 128), 32), ((300, 64), 96), ((1, 64), 32), ((4, 33, 768), 96), ((64,), 32),
    ((33, 130), 17), ((3, 3, 5, 136), 96), ((32, 768), 48), ((18, 80), 320), ((40, 96), 1),
]  # fmt: skip


@pytest.fixture(autouse=True, scope="module")
def built() -> None:
    if reason := extension.missing():
        pytest.skip(reason)


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize(("shape", "hidden"), SIZES, ids=str)
def test_against_fp64(shape: tuple[int, ...], hidden: int, dtype: torch.dtype) -> None:
    check_against_fp64(shape, hidden, dtype, "cpu", backend="cpu", scale=0.7)


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize(
    ("skip", "residual", "scale"),
    list(itertools.product([True, False], [True, False], [1.0, 0.5])),
)
def test_forms(skip: bool, residual: bool, scale: float, dtype: torch.dtype) -> None:
    form = {"skip": skip, "scale": scale}
    check_against_fp64((19, 64), 32, dtype, "cpu", residual, backend="cpu", **form)


@pytest.mark.parametrize("dtype", [torch.float32, BF16], ids=str)
@pytest.mark.parametrize("first", range(len(LAYOUTS)))
def test_layouts(first: int, dtype: torch.dtype) -> None:
    ways = list(LAYOUTS.values())
    names = ("x", "residual", "dy", "down_weight", "up_weight")
    layouts = {name: ways[(first + i) % len(ways)] for i, name in enumerate(names)}
    check_against_fp64((3, 10, 64), 32, dtype, "cpu", layouts=layouts, backend="cpu")


@pytest.mark.parametrize("rows", [1, 3, 15, 31, 100])
def test_what_is_added_makes_no_sum_rougher(rows: int) -> None:
    """It is added to the sum: a sum that starts at it is rounded at its size again and again."""
    generator = torch.Generator().manual_seed(rows)
    shapes = (rows, 384), (384, 64), (rows, 64)
    x, weight, added = (torch.randn(shape, generator=generator) for shape in shapes)
    given = [x, weight / 20, 4 * added]
    no_worse_than_rounding(
        {"y": product(*given[:2], by_rows=True, added=(given[2],))},
        {"y": given[0].double() @ given[1].double() + given[2].double()},
        follow(lambda given: {"y": given[0] @ given[1] + given[2]}, given),
    )


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_bits_repeat(dtype: torch.dtype) -> None:
    operands = inputs((700, 64), 32, dtype)
    first, second = (run(operands, "cpu", dtype) for _ in range(2))
    for name, result in first.items():
        assert torch.equal(result, second[name]), name


def test_rows_do_not_meet() -> None:
    operands = inputs((40, 96), 32)
    before = run(operands, "cpu", BF16)
    operands["x"][1:] *= 3
    after = run(operands, "cpu", BF16)
    for name in ("y", "x"):
        assert torch.equal(before[name][0], after[name][0])
        assert not torch.equal(before[name][1], after[name][1])


def test_no_rows() -> None:
    results = run(inputs((0, 4, 64), 32), "cpu", BF16)
    assert results["y"].shape == (0, 4, 64)
    assert not any(result.any() for result in results.values())


@pytest.mark.parametrize("x_dtype", FLOATS, ids=str)
@pytest.mark.parametrize("skip", [True, False])
def test_autocast(skip: bool, x_dtype: torch.dtype) -> None:
    check_autocast(x_dtype, BF16, skip, "cpu", "cpu")


@pytest.mark.parametrize(("x_dtype", "dtype", "residual", "skip"), MIXES, ids=str)
def test_opcheck(
    x_dtype: torch.dtype, dtype: torch.dtype, residual: torch.dtype | None, skip: bool
) -> None:
    operands = inputs((2, 3, 32), 32)
    kinds = {**dict.fromkeys(NAMES, dtype), "x": x_dtype, "residual": residual}
    leaves = [
        None if kind is None else operands[name].to(kind).requires_grad_()
        for name, kind in kinds.items()
    ]
    torch.library.opcheck(OPS.bottleneck_adapter_cpu, (*leaves, skip, 0.5, True))
    x, down_weight, down_bias, up_weight = (t.detach() for t in leaves[:4])
    with torch.no_grad():
        y, hidden = OPS.bottleneck_adapter_cpu(*leaves, skip, 0.5, True)
    torch.library.opcheck(
        OPS.bottleneck_adapter_cpu_backward,
        (torch.ones_like(y), x, hidden, down_weight, down_bias, up_weight, skip, 0.5),
        test_utils=ALONE,
    )


@pytest.mark.parametrize("hidden", [32, 17])
@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_same_bits_with_gradients_and_without(dtype: torch.dtype, hidden: int) -> None:
    operands = inputs((70, 64), hidden)
    given = [operands[name].to(dtype) for name in NAMES]
    torch.library.opcheck(OPS.bottleneck_adapter_cpu, (*given, True, 1.0, False))
    y = bottleneck_adapter(*given, backend="cpu")
    given[0].requires_grad_()
    assert torch.equal(y, bottleneck_adapter(*given, backend="cpu"))


def test_compiles_without_breaks() -> None:
    operands = inputs((6, 5, 64), 32)
    leaves = [operands[name].to(BF16).requires_grad_() for name in NAMES]

    def call(*tensors: Tensor) -> Tensor:
        return bottleneck_adapter(*tensors, backend="cpu").sin()

    def results(function: Callable[..., Tensor]) -> list[Tensor]:
        y = function(*leaves)
        return [y, *torch.autograd.grad(y, leaves, operands["dy"].to(BF16))]

    compiled = torch.compile(call, fullgraph=True, backend="aot_eager")
    assert all(torch.equal(a, b) for a, b in zip(results(compiled), results(call), strict=True))


def test_what_it_refuses() -> None:
    operands = inputs((3, 64), 32)
    x, *rest = (operands[name].float().requires_grad_() for name in NAMES)
    with pytest.raises(InputError, match=r"down_weight is torch\.float32, expected x's"):
        bottleneck_adapter(x.bfloat16(), *rest, backend="cpu")
    (dx,) = torch.autograd.grad(
        bottleneck_adapter(x, *rest, backend="cpu").square().sum(), x, create_graph=True
    )
    with pytest.raises(NotImplementedError, match="cpu backend has no second derivatives"):
        dx.sum().backward()
    with pytest.raises(NotImplementedError, match="no forward-mode derivatives"):
        torch.func.jvp(lambda t: bottleneck_adapter(t, *rest, backend="cpu"), (x,), (x,))
