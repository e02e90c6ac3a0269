"""The int8 products: how near they are, and that nothing else has their place afterwards."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from benchmarks.quantized.int8 import INT8, OURS, Int8Products, activated
from benchmarks.quantized.products import replaced_by
from peclip_fast import ops


@pytest.mark.parametrize("shape", [(1, 64), (3, 17, 64)])
def test_products_are_near_and_packed_once(shape: tuple[int, ...]) -> None:
    x, weight, bias = torch.randn(shape), torch.randn(96, 64), torch.randn(96)
    true = F.linear(x, weight, bias)
    products = Int8Products()
    with replaced_by(products, activated):
        for _ in range(2):
            found = ops.linear(x, weight, bias)
            assert 1e-3 < (found - true).norm() / true.norm() < 0.03
        ops.linear(x, weight[:32], bias[:32])  # a part of it is another matrix
    assert products.bytes_of == {OURS: 2 * (96 + 32) * 64, INT8: (96 + 32) * (64 + 4)}
    assert torch.equal(ops.linear(x, weight, bias, backend="reference"), true)


def test_the_hidden_layer_is_activated_in_float32() -> None:
    x = torch.randn(5, 64)
    first, second = torch.randn(96, 64) / 8, torch.randn(64, 96) / 8
    weights = (first, torch.randn(96), second, torch.randn(64))
    true = ops.feed_forward(x, *weights, "quick_gelu", backend="reference")
    with replaced_by(Int8Products(), activated), torch.autocast("cpu", torch.bfloat16):
        found = ops.feed_forward(x, *weights, "quick_gelu")
    assert found.dtype == torch.bfloat16
    assert 1e-3 < (found - true).norm() / true.norm() < 0.05
