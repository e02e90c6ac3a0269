"""The emulated FP8: how it rounds, and that the products take it."""

from __future__ import annotations

import torch

from benchmarks.quantized.fp8_error import products, quantised
from peclip_fast import ops


def test_each_row_has_three_bits_behind_its_first() -> None:
    x = torch.randn(5, 400) * 10.0 ** torch.arange(-3, 2)[:, None]
    found = quantised(x, 1)
    largest = x.abs().amax(1, keepdim=True)
    # Half a step of 2^-3, and half the least number where a row's numbers are small.
    assert ((found - x).abs() <= 2**-4 * x.abs() + 2**-10 / 448 * largest).all()
    assert all(len(row.unique()) > 50 for row in found / largest)
    torch.testing.assert_close(quantised(x, 0), quantised(x.T, 1).T)


def test_products_are_near_and_are_fp8s() -> None:
    x = torch.randn(2, 7, 64, requires_grad=True)
    weight, bias = torch.randn(96, 64), torch.randn(96)
    true = ops.linear(x, weight, bias, backend="reference")
    (slope,) = torch.autograd.grad(true.sum(), x)
    for kind in ("fp8 forward", "fp8 both ways"):
        with products(kind):
            found = ops.linear(x, weight, bias)
        (mine,) = torch.autograd.grad(found.sum(), x)
        for a, b in ((found, true), (mine, slope)):
            assert 1e-3 < (a - b).norm() / b.norm() < 0.06
    assert torch.equal(ops.linear(x, weight, bias, backend="reference"), true)
