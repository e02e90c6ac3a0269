"""Products with frozen weights on the matrix unit of the CPU against fp64, and their operator."""

from __future__ import annotations

import zlib

import pytest
import torch
from helpers.numerics.comparison import LAYOUTS
from helpers.numerics.rounding import Results, follow, no_worse_than_rounding
from torch import Tensor

from peclip_fast.errors import InputError
from peclip_fast.ops import backends, extension, linear, products
from peclip_fast.ops.declared import search
from peclip_fast.ops.products import computed_in, laid_out, product, weight_gradient

OPS = torch.ops.peclip_fast
BF16 = torch.bfloat16
# x and N: one row, broken blocks of 32 and of 128 rows, more depth than is multiplied at a time.
SIZES = [
    ((1, 32), 32), ((3, 17, 64), 96), ((37, 96), 64), ((129, 160), 32), ((2, 300, 32), 224),
    ((130, 1056), 96), ((33, 2080), 64), ((96,), 32), ((0, 64), 32),
]  # fmt: skip


@pytest.fixture(autouse=True, scope="module")
def built() -> None:
    if reason := extension.missing():
        pytest.skip(reason)


def draw(shape: tuple[int, ...], columns: int) -> list[Tensor]:
    """x, weight, bias and dy in fp64, values that bfloat16 holds."""
    generator = torch.Generator().manual_seed(zlib.crc32(repr((shape, columns)).encode()))

    def values(*size: int, spread: float = 1.0) -> Tensor:
        return (torch.randn(*size, generator=generator) * spread).to(BF16).double()

    depth = shape[-1]
    return [
        values(*shape), values(columns, depth, spread=depth**-0.5), values(columns),
        values(*shape[:-1], columns),
    ]  # fmt: skip


def run(operands: list[Tensor], backend: str, dtype: torch.dtype) -> Results:
    x, weight, bias, dy = (t.to(dtype) for t in operands)
    x.requires_grad_()
    y = linear(x, weight, bias, backend=backend)
    return {"y": y.detach(), "dx": torch.autograd.grad(y, x, dy)[0]}


@pytest.mark.parametrize("mkl", [False, True])
@pytest.mark.parametrize("dtype", [BF16, torch.float32], ids=str)
@pytest.mark.parametrize(("shape", "columns"), SIZES, ids=str)
def test_against_fp64(
    shape: tuple[int, ...], columns: int, dtype: torch.dtype, mkl: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(products, "_mkl_is_faster", lambda: mkl)
    operands = draw(shape, columns)
    no_worse_than_rounding(
        run(operands, "cpu", dtype),
        run(operands, "reference", torch.float64),
        follow(lambda given: run(given, "reference", dtype), operands),
    )


@pytest.mark.parametrize("by_rows", [False, True])
@pytest.mark.parametrize("threads", [1, 2, 3])
def test_same_bits_with_any_threads(threads: int, by_rows: bool) -> None:
    """Every number is summed in one order, however the work is parted; and rows stand alone."""
    x, weight, bias, _ = (t.to(BF16) for t in draw((70, 96), 160))
    weight = weight.mT.contiguous() if by_rows else weight
    whole = product(x, weight, bias, by_rows=by_rows)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(threads)
        assert torch.equal(product(x, weight, bias, by_rows=by_rows), whole)
        assert torch.equal(product(x[40:], weight, bias, by_rows=by_rows), whole[40:])
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("depth", [64, 1056])
def test_large_output(depth: int) -> None:
    """So large that it is written past the caches, the last rows a broken block."""
    x, weight, bias, _ = draw((2081, depth), 1024)
    y = product(x.to(BF16), weight.to(BF16), bias)
    torch.testing.assert_close(y.double(), x @ weight.mT + bias, rtol=2**-8, atol=1e-3)


@pytest.mark.parametrize("rows", [1, 45, 160])
def test_added(rows: int) -> None:
    """One tensor or two on top, also in place, and of a dtype that AMX does not add."""
    x, weight, bias, first = draw((rows, 64), 96)
    second = draw((rows, 96), 32)[0]
    x, weight = x.to(BF16), weight.to(BF16)
    exact = x.double() @ weight.double().mT
    one, two = first.to(BF16), second.to(BF16)
    close = {"rtol": 2**-8, "atol": 1e-3}
    y = product(x, weight, bias, added=(one, two))
    torch.testing.assert_close(y.double(), exact + bias + first + second, **close)
    wide = product(x, weight, added=(one.float(), two))
    assert wide.dtype == torch.float32
    torch.testing.assert_close(wide.double(), exact + first + second, rtol=2**-7, atol=0.05)
    assert product(x, weight, added=(one,), out=one) is one
    torch.testing.assert_close(one.double(), exact + first, **close)


@pytest.mark.parametrize("rows", [0, 1, 33, 513, 1100])
@pytest.mark.parametrize(("columns", "depth"), [(32, 32), (96, 160), (288, 96), (48, 64)])
def test_weight_gradient(columns: int, depth: int, rows: int) -> None:
    """Rows at strides of their own, more than one step of rows, a broken block; and not AMX's."""
    x, _, _, dy = draw((rows, depth), columns)
    apart = torch.full((rows, columns + 9), torch.nan, dtype=BF16)[:, 5 : 5 + columns]
    found = weight_gradient(apart.copy_(dy), x.to(BF16))
    assert found.dtype == BF16
    torch.testing.assert_close(found.double(), dy.mT @ x, rtol=2**-7, atol=1e-3 + 2**-9 * rows**0.5)


def test_writes_its_own_rows_alone() -> None:
    x, weight, _, _ = (t.to(BF16) for t in draw((37, 64), 96))
    out = torch.full((41, 96), torch.nan, dtype=BF16)
    product(x, weight, out=out[2:39])
    assert out[[0, 1, 39, 40]].isnan().all()
    assert torch.equal(out[2:39], product(x, weight))


@pytest.mark.parametrize("dtype", [torch.float32, BF16])
def test_sizes_that_no_unit_takes(dtype: torch.dtype) -> None:
    """PyTorch multiplies them, in float32 where nothing multiplies bfloat16."""
    wide = computed_in(dtype)
    x, weight, bias, _ = (t.to(dtype) for t in draw((5, 33), 7))
    expected = torch.addmm(bias.to(wide), x.to(wide), weight.to(wide).mT).to(dtype)
    assert torch.equal(product(x, weight, bias), expected)
    back = weight.mT.contiguous()
    for matrix, given, by_rows in ((weight.mT, weight, False), (back, back, True)):
        expected = torch.mm(x.to(wide), matrix.to(wide)).to(dtype)
        assert torch.equal(product(x, given, by_rows=by_rows), expected)


@pytest.mark.parametrize("added", [0, 1, 2])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("onednn", [False, True])
@pytest.mark.parametrize("by_rows", [False, True])
def test_float32(
    by_rows: bool, onednn: bool, bias: bool, added: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More rows than PyTorch is left with, into memory that is given, too; laid out, too."""
    monkeypatch.setattr(products, "_has_onednn", lambda: onednn)
    monkeypatch.setattr(products, "_mkl_is_faster", lambda: False)
    x, weight, term, dy = (t.float() for t in draw((70, 33), 7))
    terms = (dy, 2 * dy)[:added]
    exact = x.double() @ weight.double().mT + sum(t.double() for t in terms) + bias * term.double()
    out = torch.full_like(dy, torch.nan)
    weight = weight.mT.contiguous() if by_rows else weight
    ready = laid_out(weight, len(x), by_rows=by_rows)
    assert ready.is_mkldnn == onednn
    for given, matrix in ((None, weight), (out, weight), (out, ready)):
        y = product(x, matrix, term if bias else None, by_rows=by_rows, added=terms, out=given)
        torch.testing.assert_close(y.double(), exact, rtol=1e-5, atol=1e-5)
    assert y is out


def test_a_frozen_weight_is_transposed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """In the backward pass, as long as it stays what it is."""
    monkeypatch.setattr(products, "_takes_onednn", lambda *_: True)
    lay_out, laid = products._laid_out, []
    monkeypatch.setattr(products, "_laid_out", lambda w, n: laid.append(w.shape) or lay_out(w, n))
    x, weight, bias, dy = (t.float() for t in draw((80, 64), 96))
    x.requires_grad_()
    both = [(96, 64), (64, 96)]
    for changed, new in ((False, both), (False, both[:1]), (True, both)):
        if changed:
            weight *= 2
        (dx,) = torch.autograd.grad(linear(x, weight, bias, backend="cpu"), x, dy)
        torch.testing.assert_close(dx, dy @ weight, rtol=1e-4, atol=1e-4)
        assert laid == new
        laid.clear()


@pytest.mark.parametrize(
    ("most", "able", "held", "intel"),
    [
        ("AVX2", "AVX512", False, True),
        ("avx2_vnni", "AVX512", False, True),
        ("SSE41", "AVX512", True, True),
        ("AVX", "AVX512", True, True),
        ("SSE41", "AVX2", True, True),
        ("SSE41", "DEFAULT", False, False),
        ("AVX2", "AVX2", False, False),  # MKL has no more there
        ("AVX512_CORE_BF16", "AVX512", False, False),
        ("AVX10_1_512_AMX", "AVX512", False, False),
        ("", "AVX512", False, False),
    ],
)
@pytest.mark.parametrize("on_intel", [False, True])
@pytest.mark.parametrize("variable", ["ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA"])
def test_mkl_where_a_variable_holds_onednn(
    variable: str, on_intel: bool, most: str, able: str, held: bool, intel: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """`held` on others' processors, `intel` on Intel's."""
    for name in ("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(variable, most)
    monkeypatch.setattr(products, "_mkl_is_faster", lambda: on_intel)
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: able)
    monkeypatch.setattr(torch.backends.mkl, "is_available", lambda: True)
    assert products._onednn_is_held() == (intel if on_intel else held)
    monkeypatch.setattr(torch.backends.mkl, "is_available", lambda: False)
    assert not products._onednn_is_held()


@pytest.mark.parametrize(("rows", "dtype"), [(9, BF16), (9, torch.float32), (70, torch.float32)])
@pytest.mark.parametrize("mkl", [False, True])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts(
    layout: str, mkl: bool, rows: int, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(products, "_mkl_is_faster", lambda: mkl)
    results = []
    for place in (lambda t: t, LAYOUTS[layout]):
        x, weight, bias, dy = (t.to(dtype) for t in draw((rows, 64), 32))
        given = place(x).detach().requires_grad_()
        y = linear(given, place(weight), bias, backend="cpu")
        results.append((y.detach(), *torch.autograd.grad(y, given, place(dy))))
    # MKL sums few rows of float32 in an order that depends on the strides.
    close = {"rtol": 0, "atol": 0} if dtype == BF16 else {"rtol": 1e-6, "atol": 1e-5}
    for a, b in zip(*results, strict=True):
        torch.testing.assert_close(a, b, **close)


def test_not_a_number_stays() -> None:
    x, weight, bias, _ = (t.to(BF16) for t in draw((40, 64), 32))
    x[33, 5] = torch.nan
    y = linear(x, weight, bias, backend="cpu")
    assert y[33].isnan().all()
    assert y[:33].isfinite().all()
    assert y[34:].isfinite().all()


def test_autocast() -> None:
    x, weight, bias, _ = (t.float() for t in draw((5, 64), 32))
    with torch.autocast("cpu", BF16):
        y = linear(x, weight, bias, backend="cpu")
    assert torch.equal(y, linear(x.to(BF16), weight.to(BF16), bias.to(BF16), backend="cpu"))


def test_trained_weights_take_the_reference() -> None:
    x, weight, bias, dy = (t.to(BF16) for t in draw((5, 64), 32))
    weight.requires_grad_()
    y = linear(x, weight, bias)
    assert torch.autograd.grad(y, weight, dy)[0].any()
    with pytest.raises(InputError, match="no gradients of the weights"):
        linear(x, weight, bias, backend="cpu")


def test_opcheck() -> None:
    x, weight, bias, dy = (t.to(BF16) for t in draw((2, 3, 64), 32))
    for grad in (False, True):
        torch.library.opcheck(
            OPS.linear_cpu.default, (x.requires_grad_(grad), weight, bias),
            test_utils=("test_schema", "test_autograd_registration", "test_faketensor"),
        )  # fmt: skip
    torch.library.opcheck(
        OPS.linear_cpu_backward.default, (dy, weight),
        test_utils=("test_schema", "test_faketensor"),
    )  # fmt: skip


def test_compiled_whole() -> None:
    x, weight, bias, dy = (t.to(BF16) for t in draw((2, 3, 64), 32))

    def both(function: object) -> list[Tensor]:
        given = x.clone().requires_grad_()
        y = function(given, weight, bias, backend="cpu")
        return [y.detach(), *torch.autograd.grad(y, given, dy)]

    compiled = torch.compile(linear, fullgraph=True, backend="aot_eager")
    assert all(torch.equal(a, b) for a, b in zip(both(compiled), both(linear), strict=True))


def test_what_auto_takes() -> None:
    search.cache_clear()
    cpu = torch.device("cpu")
    for dtype, depth, columns, expected in (
        (BF16, 768, 2304, "cpu"), (BF16, 40, 64, "reference"), (BF16, 64, 40, "reference"),
        (torch.float32, 768, 768, "cpu"), (torch.float16, 768, 768, "reference"),
    ):  # fmt: skip
        assert backends.select("linear", "auto", cpu, dtype, depth, columns) == expected


def test_refusals() -> None:
    x, weight, bias, _ = (t.to(BF16) for t in draw((5, 64), 32))
    for given, backend, message in (
        ((x[:, 1:], weight, bias), "auto", r"linear: x has shape \(5, 63\), weight \(32, 64\)"),
        ((x, weight, bias[1:]), "auto", r"bias \(31,\), expected \(..., K\), \(N, K\) and \(N,\)"),
        ((x, weight[:31], bias[:31]), "cpu", "a hidden width h that is a multiple of 32, not 31"),
        ((x, weight, bias), "cuda", "linear has no cuda kernel"),
    ):
        with pytest.raises(InputError, match=message):
            linear(*given, backend=backend)
    leaf = x.requires_grad_()
    (grad,) = torch.autograd.grad(
        linear(leaf, weight, bias, backend="cpu").square().sum(), leaf, create_graph=True
    )
    with pytest.raises(NotImplementedError, match="no second derivatives"):
        grad.sum().backward()
