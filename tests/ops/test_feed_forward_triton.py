"""A frozen block's MLP and products on the Triton backend: against fp64, and their weights."""

from __future__ import annotations

import zlib

import pytest
import torch
from helpers.numerics.comparison import FLOATS, LAYOUTS
from helpers.numerics.rounding import Results, follow, no_worse_than_rounding
from torch import Tensor, nn

from peclip_fast.ops import feed_forward, linear
from peclip_fast.ops.frozen import as_computed

OPS = torch.ops.peclip_fast
NAMES = ("x", "in_weight", "in_bias", "out_weight", "out_bias")
SIZES = [((1, 1), 1), ((3, 5, 17), 33), ((2, 16), 520), ((19, 24), 96), ((24,), 96)]


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


def run(
    operands: list[Tensor], activation: str, backend: str, dtype: torch.dtype, device: str = "cpu"
) -> Results:
    """The result and every gradient."""
    *leaves, dy = (t.to(device, dtype) for t in operands)
    leaves = [t.requires_grad_() for t in leaves]
    y = feed_forward(*leaves, activation, backend=backend)
    gradients = torch.autograd.grad(y, leaves, dy)
    return {"y": y.detach()} | dict(zip(NAMES, gradients, strict=True))


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("activation", ["quick_gelu", "gelu"])
@pytest.mark.parametrize(("shape", "hidden"), SIZES, ids=str)
def test_against_fp64(
    shape: tuple[int, ...], hidden: int, activation: str, dtype: torch.dtype, triton_device: str
) -> None:
    operands = draw(shape, hidden, dtype)
    no_worse_than_rounding(
        run(operands, activation, "triton", dtype, triton_device),
        run(operands, activation, "reference", torch.float64),
        follow(lambda given: run(given, activation, "reference", dtype), operands),
    )


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts(layout: str, triton_device: str) -> None:
    """Of what stands between the products: the first one's result and its gradient."""
    hidden, grad = (
        torch.randn(3, 10, 72, generator=torch.Generator().manual_seed(i)).to(triton_device)
        for i in range(2)
    )
    bias = torch.linspace(-1, 1, 72, device=triton_device)
    place, results = LAYOUTS[layout], []
    for given, dy in ((hidden, grad), (place(hidden), place(grad))):
        y = OPS.feed_forward_triton(given, bias, "gelu", False)
        dx, _ = OPS.feed_forward_triton_backward(dy, given, bias, "gelu", False)
        results.append((y, dx))
    assert all(torch.equal(one, other) for one, other in zip(*results, strict=True))


@pytest.mark.parametrize("activation", ["quick_gelu", "gelu"])
def test_far_from_zero(activation: str, triton_device: str) -> None:
    """Where exponentials overflow: the identity on one side, zero on the other; NaN stays."""
    x = torch.tensor([1e4, -1e4, 3e38, -3e38, torch.nan], device=triton_device)
    zero = torch.zeros(5, device=triton_device)
    y = OPS.feed_forward_triton(x[None], zero, activation, False)[0]
    slope = OPS.feed_forward_triton_backward(zero[None] + 1, x[None], zero, activation, False)[0][0]
    assert torch.equal(y[:4], torch.tensor([1e4, 0, 3e38, 0], device=triton_device))
    assert torch.equal(slope[:4], torch.tensor([1.0, 0, 1, 0], device=triton_device))
    assert y[4].isnan()
    assert slope[4].isnan()


def test_same_bits_each_time(triton_device: str) -> None:
    operands = draw((40, 24), 96, torch.bfloat16)
    first, second = (
        run(operands, "quick_gelu", "triton", torch.bfloat16, triton_device) for _ in range(2)
    )
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("trained", [False, True])
def test_opcheck(trained: bool, triton_device: str) -> None:
    hidden = torch.randn(2, 3, 8, device=triton_device, requires_grad=True)
    bias = torch.randn(8, device=triton_device, requires_grad=trained)
    torch.library.opcheck(OPS.feed_forward_triton, (hidden, bias, "quick_gelu", trained))


def test_only_the_first_product_is_kept(triton_device: str) -> None:
    """Of frozen weights: of all that is H wide one tensor stays for the backward pass."""
    x, *weights, _ = (t.to(triton_device).float() for t in draw((7, 24), 96, torch.float32))
    kept: list[Tensor] = []

    def keep(t: Tensor) -> Tensor:
        if t.shape == (7, 96):
            kept.append(t)
        return t

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda t: t):
        feed_forward(x.requires_grad_(), *weights, backend="triton")
    assert len(kept) == 1


# Frozen weights ------------------------------------------------------------------------------


def test_a_frozen_weight_is_cast_once() -> None:
    weight = nn.Parameter(torch.randn(6, 4), requires_grad=False)
    first = as_computed(weight, torch.bfloat16)
    assert torch.equal(first, weight.bfloat16())
    assert as_computed(weight, torch.bfloat16) is first
    part = as_computed(weight[2:, 1:], torch.bfloat16)
    assert torch.equal(part, first[2:, 1:])
    assert part.untyped_storage().data_ptr() == first.untyped_storage().data_ptr()
    assert as_computed(weight, torch.float32) is weight


@pytest.mark.parametrize("change", ["in place", "other memory", "other dtype"])
def test_a_changed_weight_is_cast_anew(change: str) -> None:
    weight, dtype = nn.Parameter(torch.randn(6, 4), requires_grad=False), torch.bfloat16
    as_computed(weight, dtype)
    if change == "in place":
        with torch.no_grad():
            weight.mul_(2)
    elif change == "other memory":
        weight.data = torch.randn(6, 4)
    else:
        dtype = torch.float16
    assert torch.equal(as_computed(weight, dtype), weight.to(dtype))


def test_a_trained_weight_is_cast_each_time() -> None:
    weight = nn.Parameter(torch.randn(6, 4))
    (grad,) = torch.autograd.grad(as_computed(weight, torch.bfloat16).sum(), weight)
    assert torch.equal(grad, torch.ones(6, 4))


def test_nothing_is_cast_under_autocast(triton_device: str) -> None:
    """Twice over the same frozen weights: they are cast the first time, x both times."""
    x, *weights, _ = (t.to(triton_device).float() for t in draw((5, 24), 96, torch.float32))
    counts = []
    for _ in range(2):
        with (
            torch.autocast(triton_device, torch.bfloat16, cache_enabled=False),
            torch.profiler.profile() as profile,
        ):
            linear(x, *weights[:2], backend="triton")
            feed_forward(x, *weights, backend="triton")
        counts.append(sum(e.count for e in profile.key_averages() if e.key == "aten::_to_copy"))
    assert counts == [6, 2]


def test_linear_has_all_gradients(triton_device: str) -> None:
    x, weight, bias, *_ = draw((5, 24), 96, torch.float32)
    results = []
    for backend in ("triton", "reference"):
        leaves = [t.to(triton_device).float().requires_grad_() for t in (x, weight, bias)]
        y = linear(*leaves, backend=backend)
        results.append((y, *torch.autograd.grad(y.sin().sum(), leaves)))
    assert all(torch.equal(one, other) for one, other in zip(*results, strict=True))
