"""The bottleneck adapter against fp64, and the operator around its kernels."""

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
from helpers.numerics.comparison import ALONE, FLOATS, LAYOUTS, WHOLE
from torch import Tensor, nn

from peclip_fast.errors import InputError
from peclip_fast.ops import bottleneck_adapter

SMALL = [
    ((2, 19, 128), 16),  # D a multiple of every block
    ((3, 3, 5, 136), 96),  # odd rows, a tail in D, h = 64 + 32
    ((70, 96), 48),  # h = 32 + 16, more rows than one block
    ((33, 130), 17),  # nothing a multiple of anything
    ((1, 64), 3),  # one row, h under the smallest tile
    ((64,), 8),  # x without a leading dimension
]
WIDE = [
    ((18, 80), 192), ((18, 40), 320), ((29, 257), 1), ((32, 512), 64), ((32, 768), 48),
    ((4, 9, 768), 96), ((32, 1024), 128), ((31, 768), 192), ((16, 1280), 100),
]  # fmt: skip
# The interpreter is slow, most of all in the sums over D h weights: there one of the widths is the
# paper's, and the other h have few columns.
INTERPRETED = [
    ((18, 80), 192, torch.bfloat16),
    ((18, 40), 320, torch.float32),
    ((29, 257), 1, torch.float32),
    ((32, 128), 64, torch.bfloat16),  # h a power of two in one chunk
    ((4, 9, 768), 16, torch.float16),
    ((32, 72), 128, torch.bfloat16),
    ((16, 80), 100, torch.float32),  # one chunk of 128, not full
]
GRID = [(*size, dtype) for size in SMALL for dtype in FLOATS] + (
    [(*size, dtype) for size in WIDE for dtype in FLOATS]
    if torch.cuda.is_available()
    else INTERPRETED
)


@pytest.mark.parametrize(("shape", "hidden", "dtype"), GRID, ids=str)
def test_against_fp64(
    shape: tuple[int, ...], hidden: int, dtype: torch.dtype, triton_device: str
) -> None:
    check_against_fp64(shape, hidden, dtype, triton_device, scale=0.7)


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize(
    ("skip", "residual", "scale"),
    list(itertools.product([True, False], [True, False], [1.0, 0.5])),
)
def test_forms(
    skip: bool, residual: bool, scale: float, dtype: torch.dtype, triton_device: str
) -> None:
    """Every form of the equation that the ablations and FineCLIPER use."""
    check_against_fp64((11, 40), 8, dtype, triton_device, residual, skip=skip, scale=scale)


def test_many_groups(triton_device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """More rows than one group of the split reduction takes, the last group not full."""
    monkeypatch.setattr("peclip_fast.kernels.bottleneck_adapter.ROWS_PER_GROUP", 64)
    check_against_fp64((300, 64), 16, torch.float32, triton_device)


@pytest.mark.parametrize("first", range(len(LAYOUTS)))
def test_layouts(first: int, triton_device: str) -> None:
    """Every layout of every operand, each beside others."""
    ways = list(LAYOUTS.values())
    names = ("x", "residual", "dy", "down_weight", "up_weight")
    layouts = {name: ways[(first + i) % len(ways)] for i, name in enumerate(names)}
    x = torch.zeros(3, 10, 72)
    assert not any(layouts[name](x).is_contiguous() for name in names[:3])
    check_against_fp64(x.shape, 24, torch.float32, triton_device, layouts=layouts)


def test_repeated_values(triton_device: str) -> None:
    """Strides of 0: the rows of an expanded tensor, and the gradient of a sum."""
    operands = inputs((6, 5, 64), 16)
    operands["x"] = operands["x"][:1].expand(6, -1, -1)
    operands["dy"] = torch.ones((), dtype=torch.float64).expand(6, 5, 64)
    layouts = {"x": lambda t: t[:1].expand(6, -1, -1), "dy": lambda t: t[0, 0, 0].expand(6, 5, 64)}
    expected = run(
        operands, "triton", torch.float32, triton_device, dict.fromkeys(layouts, torch.clone)
    )
    for name, result in run(operands, "triton", torch.float32, triton_device, layouts).items():
        assert torch.equal(result, expected[name]), name


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_bits_repeat(
    dtype: torch.dtype, triton_device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("peclip_fast.kernels.bottleneck_adapter.ROWS_PER_GROUP", 64)
    operands = inputs((130, 24), 8, dtype)
    first, second = (run(operands, "triton", dtype, triton_device) for _ in range(2))
    for name, result in first.items():
        assert torch.equal(result, second[name]), name


def test_rows_do_not_meet(triton_device: str) -> None:
    """A row's result has the same bits whatever the other rows of its block hold."""
    operands = inputs((40, 96), 24)
    before = run(operands, "triton", torch.float32, triton_device)
    operands["x"][1:] *= 3
    after = run(operands, "triton", torch.float32, triton_device)
    for name in ("y", "x"):
        assert torch.equal(before[name][0], after[name][0])
        assert not torch.equal(before[name][1], after[name][1])


def test_no_rows(triton_device: str) -> None:
    results = run(inputs((0, 4, 64), 16), "triton", torch.float32, triton_device)
    assert results["y"].shape == (0, 4, 64)
    assert not any(result.any() for result in results.values())


@pytest.mark.parametrize(
    ("x_dtype", "dtype"),
    [
        (torch.float32, torch.bfloat16),
        (torch.bfloat16, torch.bfloat16),
        (torch.float16, torch.bfloat16),
        (torch.float32, torch.float16),
    ],
    ids=str,
)
@pytest.mark.parametrize("skip", [True, False])
def test_autocast_as_linear(
    x_dtype: torch.dtype, dtype: torch.dtype, skip: bool, triton_device: str
) -> None:
    check_autocast(x_dtype, dtype, skip, triton_device, "triton")


@pytest.mark.parametrize(
    ("backend", "dynamic", "autocast"),
    [
        ("auto", False, False),
        ("triton", False, False),
        ("triton", True, False),
        ("triton", False, True),
    ],
)
def test_compiles_without_breaks(
    backend: str, dynamic: bool, autocast: bool, triton_device: str
) -> None:
    operands = inputs((6, 5, 96), 24)
    leaves = [operands[name].to(triton_device, torch.float32).requires_grad_() for name in NAMES]

    def call(*tensors: Tensor) -> Tensor:
        with torch.autocast(triton_device, torch.bfloat16, enabled=autocast):
            return bottleneck_adapter(*tensors, backend=backend, scale=0.5).sin()

    def results(function: Callable[..., Tensor]) -> list[Tensor]:
        y = function(*leaves)
        return [y, *torch.autograd.grad(y, leaves, operands["dy"].to(triton_device, y.dtype))]

    torch.compiler.reset()
    compiled = torch.compile(call, fullgraph=True, dynamic=dynamic, backend="aot_eager")
    for name, a, b in zip(("y", *NAMES), results(compiled), results(call), strict=True):
        assert torch.equal(a, b), name


@pytest.mark.parametrize("cast", [False, True])
@pytest.mark.parametrize(("x_dtype", "dtype", "residual", "skip"), MIXES, ids=str)
def test_opcheck(
    x_dtype: torch.dtype,
    dtype: torch.dtype,
    residual: torch.dtype | None,
    skip: bool,
    cast: bool,
    triton_device: str,
) -> None:
    products = torch.float16 if cast else dtype
    operands = inputs((2, 3, 16), 3)
    kinds = {**dict.fromkeys(NAMES, dtype), "x": x_dtype, "residual": residual}
    leaves = [
        None if kind is None else operands[name].to(triton_device, kind).requires_grad_()
        for name, kind in kinds.items()
    ]
    x, *weights = (t.detach() for t in leaves[:5])
    tests = WHOLE if cast == skip else ALONE  # each mix is compiled once
    arguments = (*leaves, skip, 0.5, products)
    torch.library.opcheck(OPS.bottleneck_adapter_triton, arguments, test_utils=tests)
    with torch.no_grad():
        y, cast = OPS.bottleneck_adapter_triton(*leaves, skip, 0.5, products)
    torch.library.opcheck(
        OPS.bottleneck_adapter_triton_backward,
        (torch.ones_like(y), x, cast, *weights, skip, 0.5),
        test_utils=ALONE,
    )


def test_second_derivatives(triton_device: str) -> None:
    """The reference has them; the kernels say that they don't, rather than give zeros."""
    operands = inputs((3, 16), 4, torch.float64)
    leaves = [operands[name].requires_grad_() for name in NAMES]
    assert torch.autograd.gradgradcheck(
        lambda *tensors: bottleneck_adapter(*tensors, backend="reference"), leaves
    )
    leaves = [t.detach().to(triton_device, torch.float32).requires_grad_() for t in leaves]
    y = bottleneck_adapter(*leaves, backend="triton")
    for dleaf in torch.autograd.grad(y.square().sum(), leaves[:5], create_graph=True):
        with pytest.raises(NotImplementedError, match="triton backend has no second derivatives"):
            dleaf.sum().backward(retain_graph=True)


def test_forward_mode(triton_device: str) -> None:
    """The reference has it; the kernels refuse a tangent on any operand."""
    operands = inputs((3, 16), 4)
    leaves = {name: operands[name].to(triton_device, torch.float32) for name in NAMES}

    def call(backend: str, name: str, t: Tensor) -> Tensor:
        return bottleneck_adapter(**{**leaves, name: t}, backend=backend)

    for name, t in leaves.items():
        tangent = torch.func.jvp(lambda t: call("reference", name, t), (t,), (t,))[1]  # noqa: B023
        assert tangent.any()
        with torch.autograd.forward_ad.dual_level():
            dual = torch.autograd.forward_ad.make_dual(t, t)
            with pytest.raises(NotImplementedError, match="no forward-mode derivatives"):
                call("triton", name, dual)
        with pytest.raises(NotImplementedError, match="no forward-mode derivatives"):
            torch.func.jvp(lambda t: call("triton", name, t), (t,), (t,))  # noqa: B023


def test_reference_is_the_modules() -> None:
    """The equation on nn.Linear and nn.GELU."""
    down, up, act = nn.Linear(24, 6), nn.Linear(6, 24), nn.GELU()
    x, residual = torch.randn(2, 3, 5, 24), torch.randn(2, 3, 5, 24)
    y = bottleneck_adapter(x, down.weight, down.bias, up.weight, up.bias, residual, scale=0.5)
    torch.testing.assert_close(y, residual + x + 0.5 * up(act(down(x))))


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        ({"x": (4, 7)}, r"x has shape \(4, 7\), expected \(\.\.\., 8\) as down_weight is \(3, 8\)"),
        ({"down_weight": (3,)}, r"down_weight has shape \(3,\), expected \(h, D\)"),
        ({"down_bias": (8,)}, r"down_bias has shape \(8,\), expected \(3,\)"),
        ({"up_weight": (3, 8)}, r"up_weight has shape \(3, 8\), expected \(8, 3\)"),
        ({"up_bias": (3,)}, r"up_bias has shape \(3,\), expected \(8,\)"),
        ({"residual": (8,)}, r"residual has shape \(8,\), expected \(4, 8\)"),
        ({"x": ()}, r"x has shape \(\), expected"),
    ],
)
@pytest.mark.parametrize("backend", ["auto", "reference", "triton"])
def test_wrong_shapes(broken: dict[str, tuple[int, ...]], message: str, backend: str) -> None:
    shapes = {
        "x": (4, 8), "down_weight": (3, 8), "down_bias": (3,), "up_weight": (8, 3),
        "up_bias": (8,), "residual": (4, 8),
    }  # fmt: skip
    tensors = {name: torch.randn(shape) for name, shape in (shapes | broken).items()}
    with pytest.raises(InputError, match=message):
        bottleneck_adapter(**tensors, backend=backend)


def test_wrong_dtypes(triton_device: str) -> None:
    operands = inputs((3, 16), 4)
    x, *weights, residual = (operands[name].to(triton_device, torch.float32) for name in NAMES)
    with pytest.raises(InputError, match=r"down_weight is torch\.float32, expected x's"):
        bottleneck_adapter(x.bfloat16(), *weights, residual, backend="triton")
    with pytest.raises(InputError, match=r"residual is torch\.float64"):
        bottleneck_adapter(x, *weights, residual.double(), backend="triton")
    with pytest.raises(InputError, match="it takes float32, bfloat16, float16, not float64"):
        bottleneck_adapter(x.double(), *weights, residual, backend="triton")
