"""A frozen block's MLP on the CPU against fp64, and the operator around it."""

from __future__ import annotations

import importlib
import zlib

import pytest
import torch
from helpers.numerics.comparison import FLOATS, LAYOUTS
from helpers.numerics.rounding import Results, follow, no_worse_than_rounding
from torch import Tensor

from peclip_fast.errors import InputError
from peclip_fast.ops import extension, feed_forward, products

OPS = torch.ops.peclip_fast
# As an attribute of the package the name is the function.
MODULE = "peclip_fast.ops.feed_forward.operator"
SIZES = [((1, 1), 1), ((3, 5, 17), 33), ((2, 64), 130), ((40, 96), 384), ((0, 8), 16), ((24,), 96)]


@pytest.fixture(autouse=True, scope="module")
def built() -> None:
    if reason := extension.missing():
        pytest.skip(reason)


def draw(shape: tuple[int, ...], hidden: int, dtype: torch.dtype) -> list[Tensor]:
    """x, the four weights and dy in fp64, values that `dtype` holds."""
    generator = torch.Generator().manual_seed(zlib.crc32(repr((shape, hidden, dtype)).encode()))
    width = shape[-1]

    def values(*size: int, spread: float = 1.0) -> Tensor:
        drawn = torch.randn(*size, generator=generator, dtype=torch.float64) * spread
        return drawn.to(dtype).double()

    return [
        values(*shape, spread=2.0), values(hidden, width, spread=width**-0.5), values(hidden),
        values(width, hidden, spread=hidden**-0.5), values(width), values(*shape),
    ]  # fmt: skip


def run(operands: list[Tensor], activation: str, backend: str, dtype: torch.dtype) -> Results:
    x, *weights, dy = (t.to(dtype) for t in operands)
    x.requires_grad_()
    y = feed_forward(x, *weights, activation, backend=backend)
    return {"y": y.detach(), "dx": torch.autograd.grad(y, x, dy)[0]}


def check(found: Results, operands: list[Tensor], activation: str = "quick_gelu") -> None:
    """Of some of what `run` gives."""
    dtype = found["y"].dtype
    exact = run(operands, activation, "reference", torch.float64)
    program = follow(lambda given: run(given, activation, "reference", dtype), operands)
    no_worse_than_rounding(
        found, {name: exact[name] for name in found}, {name: program[name] for name in found}
    )


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("activation", ["quick_gelu", "gelu"])
@pytest.mark.parametrize(("shape", "hidden"), SIZES, ids=str)
def test_against_fp64(
    shape: tuple[int, ...], hidden: int, activation: str, dtype: torch.dtype
) -> None:
    operands = draw(shape, hidden, dtype)
    check(run(operands, activation, "cpu", dtype), operands, activation)


@pytest.mark.parametrize(("width", "dtype"), [(24, torch.float32), (64, torch.bfloat16)])
@pytest.mark.parametrize("save", [False, True])
def test_in_parts(
    save: bool, width: int, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More rows than one part takes, the parts not of one size."""
    monkeypatch.setattr(importlib.import_module(MODULE), "_PART", 96 * 7)
    operands = draw((23, width), 96, dtype)
    x, *weights, dy = (t.to(dtype) for t in operands)
    y = feed_forward(x.requires_grad_(save), *weights, backend="cpu")
    found = {"y": y.detach()}
    if save:
        found["dx"] = torch.autograd.grad(y, x, dy)[0]
    check(found, operands)


@pytest.mark.parametrize("onednn", [False, True])
@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize(("width", "hidden"), [(33, 70), (96, 384)])
def test_same_bits_with_gradients_and_without(
    width: int, hidden: int, dtype: torch.dtype, onednn: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What recompute computes again is what was computed first, though in parts."""
    monkeypatch.setattr(products, "_mkl_is_faster", lambda: not onednn)
    monkeypatch.setattr(importlib.import_module(MODULE), "_PART", hidden * 101)
    x, *weights, _ = (t.to(dtype) for t in draw((499, width), hidden, dtype))
    with_gradients = feed_forward(x.clone().requires_grad_(), *weights, backend="cpu")
    assert torch.equal(with_gradients, feed_forward(x, *weights, backend="cpu"))


def test_large() -> None:
    """So many hidden numbers that they are written past the caches."""
    operands = draw((2115, 64), 1024, torch.bfloat16)
    whole = run(operands, "quick_gelu", "cpu", torch.bfloat16)
    x, *weights, dy = operands
    for rows in (slice(0, 40), slice(2100, 2115)):
        check({name: t[rows] for name, t in whole.items()}, [x[rows], *weights, dy[rows]])


@pytest.mark.parametrize(("width", "dtype"), [(24, torch.float32), (64, torch.bfloat16)])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts(layout: str, width: int, dtype: torch.dtype) -> None:
    operands = draw((6, width), 96, dtype)
    place = LAYOUTS[layout]
    x, *weights, dy = (place(t.to(dtype)) if t.dim() > 1 else t.to(dtype) for t in operands)
    x = x.detach().requires_grad_()
    y = feed_forward(x, *weights, backend="cpu")
    check({"y": y.detach(), "dx": torch.autograd.grad(y, x, dy)[0]}, operands)


def test_same_bits_each_time() -> None:
    operands = draw((300, 64), 256, torch.bfloat16)
    first, second = (run(operands, "quick_gelu", "cpu", torch.bfloat16) for _ in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("activation", ["quick_gelu", "gelu"])
@pytest.mark.parametrize(("width", "dtype"), [(24, torch.float32), (64, torch.bfloat16)])
def test_not_a_number_stays(width: int, dtype: torch.dtype, activation: str) -> None:
    x, *weights, _ = (t.to(dtype) for t in draw((4, width), 96, torch.float32))
    x[2, 3] = torch.nan
    y = feed_forward(x, *weights, activation, backend="cpu")
    assert y[2].isnan().all()
    assert y[[0, 1, 3]].isfinite().all()


@pytest.mark.parametrize("activation", ["quick_gelu", "gelu"])
@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_each_hidden_number(dtype: torch.dtype, activation: str) -> None:
    """Value and slope of the activation by itself, from far below zero to far above it."""
    x = torch.cat([torch.linspace(-40, 40, 2048), torch.linspace(-3, 3, 2048)]).view(-1, 32)
    one, none = torch.eye(32), torch.zeros(32)
    operands = [t.to(dtype).double() for t in (x, one, none, one, none, torch.ones_like(x))]
    check(run(operands, activation, "cpu", dtype), operands, activation)


@pytest.mark.parametrize("width", [24, 64])
def test_autocast(width: int) -> None:
    """float32 weights and x under autocast: as if all of them had been bfloat16."""
    x, *weights, _ = (t.float() for t in draw((5, width), 96, torch.bfloat16))
    with torch.autocast("cpu", torch.bfloat16):
        y = feed_forward(x, *weights, backend="cpu")
    narrow = [t.bfloat16() for t in (x, *weights)]
    assert torch.equal(y, feed_forward(*narrow, backend="cpu"))


def test_trained_weights_take_the_reference() -> None:
    x, *weights, dy = (t.float() for t in draw((5, 24), 96, torch.float32))
    weights[0].requires_grad_()
    y = feed_forward(x, *weights)
    assert torch.equal(y, feed_forward(x, *weights, backend="reference"))
    assert torch.autograd.grad(y, weights[0], dy)[0].any()
    with pytest.raises(InputError, match="no gradients of the weights"):
        feed_forward(x, *weights, backend="cpu")


def test_opcheck() -> None:
    x, *weights, dy = (t.float() for t in draw((2, 3, 8), 16, torch.float32))
    for save in (False, True):
        given = (x.requires_grad_(save), *weights, "quick_gelu", save)
        torch.library.opcheck(
            OPS.feed_forward_cpu.default, given,
            test_utils=("test_schema", "test_autograd_registration", "test_faketensor"),
        )  # fmt: skip
    hidden = OPS.feed_forward_cpu(x.detach(), *weights, "gelu", True)[1]
    torch.library.opcheck(
        OPS.feed_forward_cpu_backward.default, (dy, hidden, *weights[:3], "gelu"),
        test_utils=("test_schema", "test_faketensor"),
    )  # fmt: skip


def test_compiled_whole() -> None:
    x, *weights, dy = (t.float() for t in draw((2, 3, 8), 16, torch.float32))

    def both(function: object) -> list[Tensor]:
        given = x.clone().requires_grad_()
        y = function(given, *weights, backend="cpu")
        return [y.detach(), *torch.autograd.grad(y, given, dy)]

    compiled = torch.compile(feed_forward, fullgraph=True, backend="aot_eager")
    assert all(torch.equal(a, b) for a, b in zip(both(compiled), both(feed_forward), strict=True))


@pytest.mark.parametrize("activation", ["quick_gelu", "gelu"])
def test_reference_gradient(activation: str) -> None:
    x, *weights, _ = (t.requires_grad_() for t in draw((2, 3), 5, torch.float64))
    assert torch.autograd.gradcheck(
        lambda *given: feed_forward(*given, activation, backend="reference"), (x, *weights)
    )


def test_refusals() -> None:
    x, *weights, _ = (t.float() for t in draw((5, 24), 96, torch.float32))
    with pytest.raises(InputError, match="activation 'relu' is not one of quick_gelu, gelu"):
        feed_forward(x, *weights, "relu")
    with pytest.raises(InputError, match=r"in_weight has shape \(96, 24\), expected \(96, 23\)"):
        feed_forward(x[:, 1:], *weights)
    with pytest.raises(InputError, match="feed_forward has no cuda kernel"):
        feed_forward(x, *weights, backend="cuda")
    leaf = x.requires_grad_()
    (grad,) = torch.autograd.grad(
        feed_forward(leaf, *weights, backend="cpu").sum(), leaf, create_graph=True
    )
    with pytest.raises(NotImplementedError, match="no second derivatives"):
        grad.sum().backward()


def test_bfloat16_that_nothing_multiplies(monkeypatch: pytest.MonkeyPatch) -> None:
    """Computed in float32 and rounded once: never further from fp64 than PyTorch's bfloat16."""
    monkeypatch.setattr(extension, "bf16_missing", lambda: "nothing here")
    operands = draw((40, 96), 384, torch.bfloat16)
    given = [t.to(torch.bfloat16) for t in operands]

    def run(tensors: list[Tensor], backend: str) -> list[Tensor]:
        x, *weights, dy = tensors
        x = x.clone().requires_grad_()
        y = feed_forward(x, *weights, backend=backend)
        return [y.detach(), torch.autograd.grad(y, x, dy)[0]]

    exact = run(operands, "reference")
    for mine, plain, true in zip(run(given, "cpu"), run(given, "reference"), exact, strict=True):
        assert mine.dtype == torch.bfloat16
        assert (mine.double() - true).norm() <= (plain.double() - true).norm()
