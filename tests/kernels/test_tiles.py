"""How h is cut, that every h has block sizes, and the functions. Whole kernels: tests/ops."""

from __future__ import annotations

import pytest
import torch
import triton
import triton.language as tl

from peclip_fast.kernels import bottleneck_adapter, temporal_adapter
from peclip_fast.kernels.tiles import chunks, gelu, gelu_slope, round_to, tanh

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


@pytest.mark.parametrize(
    ("hidden", "expected"),
    [
        (96, (64, 32)), (48, (32, 16)), (192, (128, 64)), (64, (64, 0)), (320, (256, 64)),
        (1, (16, 0)), (17, (32, 0)), (24, (32, 0)), (100, (128, 0)), (65, (64, 16)),
    ],
)  # fmt: skip
def test_chunks(hidden: int, expected: tuple[int, int]) -> None:
    assert chunks(hidden) == expected


def test_chunks_pad_little() -> None:
    """At most a third more columns than h, from where tl.dot's least size stops mattering."""
    for hidden in range(36, 321):
        assert hidden <= sum(chunks(hidden)) <= 4 / 3 * hidden


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_every_width_has_a_config(dtype: torch.dtype) -> None:
    for hidden in range(1, 321):
        for blocks in bottleneck_adapter.config(hidden, dtype):
            assert blocks.warps in (4, 8)
    for padded in (16, 32, 64, 128, 256):
        for blocks in temporal_adapter.config(padded, dtype):
            assert min(blocks.rows, blocks.columns) >= 16  # tl.dot's least


@triton.jit
def functions_kernel(x_ptr, out_ptr, count, BLOCK: tl.constexpr):
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    x = tl.load(x_ptr + i, mask=i < count)
    tl.store(out_ptr + i, tanh(x), mask=i < count)
    tl.store(out_ptr + count + i, gelu(x), mask=i < count)
    tl.store(out_ptr + 2 * count + i, gelu_slope(x), mask=i < count)


def test_functions() -> None:
    """tanh to a few ulp of its value everywhere; GELU and its slope to a few of 1."""
    x = torch.cat([torch.logspace(-7, 2, 400), torch.linspace(0.3, 0.4, 101), torch.zeros(1)])
    x = torch.cat([x, -x]).to(DEVICE)
    out = torch.empty(3, x.numel(), device=DEVICE)
    functions_kernel[(triton.cdiv(x.numel(), 128),)](x, out, x.numel(), BLOCK=128)
    double = x.double().requires_grad_()
    exact = torch.tanh(double.detach())
    assert ((out[0] - exact).abs() <= 1e-6 * exact.abs()).all()
    y = torch.nn.functional.gelu(double)
    (slope,) = torch.autograd.grad(y.sum(), double)
    assert ((out[1] - y).abs() <= 3e-7 * double.abs()).all()
    assert ((out[2] - slope).abs() <= 5e-7).all()
    edges = torch.tensor([torch.inf, -torch.inf, torch.nan], device=DEVICE)
    functions_kernel[(1,)](edges, out, 3, BLOCK=128)
    assert out.flatten()[:2].tolist() == [1.0, -1.0]
    assert out.flatten()[2].isnan()


@triton.jit
def rounding_kernel(x_ptr, out_ptr, BLOCK: tl.constexpr):
    i = tl.arange(0, BLOCK)
    tl.store(out_ptr + i, round_to(tl.load(x_ptr + i), out_ptr.dtype.element_ty))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_rounds_to_nearest_even(dtype: torch.dtype) -> None:
    """Halfway between neighbours, to either side of it, and at random."""
    step = torch.finfo(dtype).eps
    near = 1 + step * torch.tensor([0.5, 1.5, 2.5, 0.499, 0.501, 1.499, 1.501, 0.0])
    x = torch.cat([near, -near, torch.randn(112)]).to(DEVICE)
    out = torch.empty(128, dtype=dtype, device=DEVICE)
    rounding_kernel[(1,)](x, out, BLOCK=128)
    assert torch.equal(out, x.to(dtype))
