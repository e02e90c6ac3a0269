"""LayerNorm of a residual stream: the kernels against fp64, and the operator around them."""

from __future__ import annotations

import zlib

import pytest
import torch
from helpers.numerics.comparison import ALONE, FLOATS, LAYOUTS
from helpers.numerics.rounding import Results, follow, no_worse_than_rounding
from torch import Tensor, nn

from peclip_fast.errors import InputError
from peclip_fast.ops import layer_norm
from peclip_fast.ops.layer_norm import put

OPS = torch.ops.peclip_fast
NAMES = ("x", "weight", "bias", "residual")
Operands = dict[str, Tensor | None]
SIZES = [
    (1, 1, 1), (2, 3, 17), (3, 16, 24), (2, 17, 130), (2, 1, 768), (70, 40), (1, 9), (2, 3, 1029),
]  # fmt: skip


def draw(shape: tuple[int, ...], dtype: torch.dtype, residual: bool = True) -> Operands:
    """Operands and the gradients of both results in fp64, values that `dtype` holds."""
    generator = torch.Generator().manual_seed(zlib.crc32(repr((shape, dtype)).encode()))

    def values(*size: int, mean: float = 0.0) -> Tensor:
        drawn = torch.randn(*size, generator=generator, dtype=torch.float64) + mean
        return drawn.to(dtype).double()

    return {
        "x": values(*shape, mean=0.5),
        "weight": values(shape[-1], mean=1.0),
        "bias": values(shape[-1]),
        "residual": values(*shape) if residual else None,
        "ds": values(*shape),
        "dy": values(*shape),
    }


def run(operands: Operands, backend: str, dtype: torch.dtype, device: str = "cpu") -> Results:
    """Both results and every gradient."""
    given = {n: None if t is None else t.to(device, dtype) for n, t in operands.items()}
    return of(given, backend)


def of(given: Operands, backend: str) -> Results:
    leaves = {n: given[n].detach().requires_grad_() for n in NAMES if given[n] is not None}
    s, y = layer_norm(*(leaves.get(name) for name in NAMES), backend=backend)
    gradients = torch.autograd.grad((s, y), list(leaves.values()), (given["ds"], given["dy"]))
    results = {"s": s.detach().clone(), "y": y.detach()}
    return results | {f"d{name}": g for name, g in zip(leaves, gradients, strict=True)}


def check(found: Results, operands: Operands) -> None:
    dtype = found["y"].dtype
    exact = run(operands, "reference", torch.float64)
    program = follow(lambda given: run(given, "reference", dtype), operands)
    no_worse_than_rounding(found, exact, program)


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize("shape", SIZES, ids=str)
def test_against_fp64(
    shape: tuple[int, ...], residual: bool, dtype: torch.dtype, triton_device: str
) -> None:
    operands = draw(shape, dtype, residual)
    check(run(operands, "triton", dtype, triton_device), operands)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_many_groups(
    dtype: torch.dtype, triton_device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More rows than one group of the weights' gradients takes, the last one not full."""
    monkeypatch.setattr("peclip_fast.kernels.layer_norm.ROWS_PER_GROUP", 8)
    monkeypatch.setattr("peclip_fast.kernels.layer_norm.ELEMENTS", 256)
    operands = draw((67, 24), dtype)
    found = run(operands, "triton", dtype, triton_device)
    check(found, operands)
    again = run(operands, "triton", dtype, triton_device)
    assert all(torch.equal(found[name], again[name]) for name in found)


@pytest.mark.parametrize("learned_dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize(("count", "start"), [(1, 0), (2, 15), (17, 0), (3, 4)])
@pytest.mark.parametrize("each", [False, True])
def test_learned_tokens(
    each: bool, count: int, start: int, dtype: torch.dtype, learned_dtype: torch.dtype,
    triton_device: str,
) -> None:  # fmt: skip
    """As if they had been put into the sum first; the tokens that they replace get no gradient."""
    operands = {n: t.to(triton_device, dtype) for n, t in draw((3, 17, 20), dtype).items()}
    leaves = [operands[name].requires_grad_() for name in NAMES]
    shape = (3, count, 20) if each else (count, 20)
    learned = torch.randn(shape).to(triton_device, learned_dtype).requires_grad_()
    grads = operands["ds"], operands["dy"]
    found = layer_norm(*leaves, learned=learned, start=start, backend="triton")
    gradients = torch.autograd.grad(found, [*leaves, learned], grads)
    x, weight, bias, residual = leaves
    whole = put(x + residual, learned, start)
    expected = layer_norm(whole, weight, bias, backend="triton")
    for one, other in zip(found, expected, strict=True):
        assert torch.equal(one, other)
    wanted = torch.autograd.grad(
        expected, [*leaves, learned], grads, allow_unused=True, materialize_grads=True
    )
    for one, other in zip(gradients, wanted, strict=True):
        assert one.dtype == other.dtype
        # A learned token's gradient is rounded to either dtype for each image, and then summed.
        eps = max(torch.finfo(kind).eps for kind in (dtype, learned_dtype))
        torch.testing.assert_close(one, other, rtol=4 * eps, atol=16 * eps)
    assert not gradients[0][:, start : start + count].any()


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts(layout: str, triton_device: str) -> None:
    operands = {n: t.to(triton_device).float() for n, t in draw((3, 10, 72), torch.float32).items()}
    expected = of(operands, "triton")
    placed = {n: LAYOUTS[layout](t) if t.dim() > 1 else t for n, t in operands.items()}
    found = of(placed, "triton")
    assert all(torch.equal(found[name], expected[name]) for name in found)


@pytest.mark.parametrize("which", ["ds", "dy"])
def test_one_result_without_a_gradient(which: str, triton_device: str) -> None:
    """As if its gradient were zero; of the sum alone there is nothing to compute."""
    operands = {n: t.to(triton_device).float() for n, t in draw((2, 5, 24), torch.float32).items()}
    leaves = [operands[name].requires_grad_() for name in NAMES]
    results = layer_norm(*leaves, backend="triton")
    place = ["ds", "dy"].index(which)
    found = torch.autograd.grad(
        results[place], leaves, operands[which], allow_unused=True, materialize_grads=True
    )
    expected = of(operands | {({"ds", "dy"} - {which}).pop(): torch.zeros(2, 5, 24)}, "triton")
    for name, gradient in zip(NAMES, found, strict=True):
        torch.testing.assert_close(gradient, expected[f"d{name}"])


@pytest.mark.parametrize("x_dtype", [torch.float32, torch.bfloat16], ids=str)
def test_autocast(x_dtype: torch.dtype, triton_device: str) -> None:
    """The sum keeps its dtype, and what goes into products has theirs, on every backend."""
    operands = draw((2, 5, 24), torch.bfloat16)
    x, residual = (operands[n].to(triton_device, x_dtype) for n in ("x", "residual"))
    weight, bias = (operands[n].to(triton_device).float() for n in ("weight", "bias"))
    with torch.autocast(triton_device, torch.bfloat16):
        (s, y), (s2, y2) = (
            layer_norm(x, weight, bias, residual, backend=b) for b in ("triton", "reference")
        )
    assert s.dtype == s2.dtype == x_dtype
    assert y.dtype == y2.dtype == torch.bfloat16
    assert torch.equal(s, s2)
    torch.testing.assert_close(y, y2)


def test_the_sum_is_x_itself(triton_device: str) -> None:
    """Nothing is written where nothing is added."""
    x = torch.randn(3, 24, device=triton_device, requires_grad=True)
    ones = torch.ones(24, device=triton_device)
    s, _ = layer_norm(x, ones, ones, backend="triton")
    assert s.data_ptr() == x.data_ptr()


def test_no_leading_dimension(triton_device: str) -> None:
    operands = {n: t.to(triton_device).float() for n, t in draw((1, 9), torch.float32).items()}
    expected = of(operands, "triton")
    found = of({n: t.view(9) for n, t in operands.items()}, "triton")
    assert all(torch.equal(found[name], expected[name].view(9)) for name in found)


def test_no_rows(triton_device: str) -> None:
    found = run(draw((0, 4, 24), torch.float32), "triton", torch.float32, triton_device)
    assert found["y"].shape == (0, 4, 24)
    assert not any(result.any() for result in found.values())


def test_not_a_number_stays_in_its_row(triton_device: str) -> None:
    operands = {n: t.to(triton_device).float() for n, t in draw((4, 24), torch.float32).items()}
    operands["x"][2, 3] = torch.nan
    found = of(operands, "triton")
    for name in ("y", "dx"):
        assert found[name][2].isnan().all()
        assert found[name][[0, 1, 3]].isfinite().all()


@pytest.mark.parametrize("form", ["plain", "residual", "learned"])
def test_opcheck(form: str, triton_device: str) -> None:
    operands = {n: t.to(triton_device).float() for n, t in draw((2, 5, 6), torch.float32).items()}
    x, weight, bias, residual = (operands[name] for name in NAMES)
    learned = torch.randn(2, 2, 6, device=triton_device) if form == "learned" else None
    arguments = x, weight, bias, None if form == "plain" else residual, learned
    given = (*arguments, 3, 1e-5, torch.bfloat16)
    torch.library.opcheck(OPS.layer_norm_triton, given, test_utils=ALONE)
    _, y, moments = OPS.layer_norm_triton(*given)
    for dy, ds in ((y, x), (None, x), (y, None)):
        back = dy, ds, x, weight, moments, 3, 2 if form == "learned" else 0, torch.float32, True
        torch.library.opcheck(OPS.layer_norm_triton_backward, back, test_utils=ALONE)


@pytest.mark.parametrize("form", ["plain", "residual"])
def test_compiles_without_breaks(form: str, triton_device: str) -> None:
    operands = {n: t.to(triton_device).float() for n, t in draw((2, 5, 24), torch.float32).items()}
    leaves = [operands[name].requires_grad_() for name in NAMES[: 3 if form == "plain" else 4]]

    def call(*tensors: Tensor) -> Tensor:
        s, y = layer_norm(*tensors, backend="triton")
        return s.sin() + y.cos()

    torch.compiler.reset()
    compiled = torch.compile(call, fullgraph=True, backend="aot_eager")
    both = [
        torch.autograd.grad(function(*leaves), leaves, operands["dy"])
        for function in (compiled, call)
    ]
    for one, other in zip(*both, strict=True):
        torch.testing.assert_close(one, other)


def test_second_derivatives_and_forward_mode(triton_device: str) -> None:
    operands = {n: t.to(triton_device).float() for n, t in draw((2, 5, 8), torch.float32).items()}
    leaves = [operands[name].requires_grad_() for name in NAMES]
    _, y = layer_norm(*leaves, backend="triton")
    for gradient in torch.autograd.grad(y.square().sum(), leaves, create_graph=True):
        with pytest.raises(NotImplementedError, match="triton backend has no second derivatives"):
            gradient.sum().backward(retain_graph=True)
    with torch.autograd.forward_ad.dual_level():
        x = torch.autograd.forward_ad.make_dual(leaves[0].detach(), leaves[0].detach())
        with pytest.raises(NotImplementedError, match="no forward-mode derivatives"):
            layer_norm(x, *leaves[1:3], backend="triton")


def test_reference_is_the_module() -> None:
    norm, x, residual = nn.LayerNorm(24), torch.randn(2, 3, 24), torch.randn(2, 3, 24)
    learned = torch.randn(1, 24)
    s, y = layer_norm(x, norm.weight, norm.bias, residual, learned=learned, start=1)
    expected = x + residual
    expected[:, 1] = learned
    assert torch.equal(s, expected)
    assert torch.equal(y, norm(expected))
    leaves = [t.double().requires_grad_() for t in (x, norm.weight.detach(), norm.bias.detach())]
    assert torch.autograd.gradcheck(lambda *t: layer_norm(*t, residual.double()), leaves)


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        ({"x": ()}, r"x has shape \(\), expected \(\.\.\., D\)"),
        ({"weight": (7,)}, r"weight has shape \(7,\), expected \(8,\) as x is \(2, 4, 8\)"),
        ({"bias": (1,)}, r"bias has shape \(1,\), expected \(8,\)"),
        ({"residual": (4, 8)}, r"residual has shape \(4, 8\), expected \(2, 4, 8\)"),
        ({"learned": (8,)}, r"learned has shape \(8,\) and x \(2, 4, 8\), expected \(P, D\)"),
        ({"learned": (3, 2, 8)}, r"learned has shape \(3, 2, 8\)"),
        ({"learned": (5, 8)}, "start=0, expected from 0 to -1"),
    ],
)
@pytest.mark.parametrize("backend", ["auto", "reference", "triton"])
def test_wrong_shapes(broken: dict[str, tuple[int, ...]], message: str, backend: str) -> None:
    shapes = {"x": (2, 4, 8), "weight": (8,), "bias": (8,), "residual": (2, 4, 8)} | broken
    tensors = {name: torch.randn(shape) for name, shape in shapes.items()}
    with pytest.raises(InputError, match=message):
        layer_norm(**tensors, backend=backend)


def test_wrong_kinds(triton_device: str) -> None:
    x, weight = torch.randn(2, 8, device=triton_device), torch.randn(8, device=triton_device)
    with pytest.raises(InputError, match=r"weight is torch\.float64"):
        layer_norm(x, weight.double(), weight, backend="triton")
    with pytest.raises(InputError, match="it takes float32, bfloat16, float16, not float64"):
        layer_norm(x.double(), weight, weight, backend="triton")
    wide = torch.randn(8193, device=triton_device)
    with pytest.raises(InputError, match="it takes a width D from 1 to 8192, not 8193"):
        layer_norm(wide, wide, wide, backend="triton")
