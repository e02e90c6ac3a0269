"""What the operators' benchmarks say of their work, beside what PyTorch counts."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType

import pytest
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import bottleneck_adapter, temporal_adapter
from benchmarks.measure import operators
from benchmarks.measure.operators import FRAMES, TOKENS, WIDTH, Operator
from peclip_fast import ops

THIN = 2 * FRAMES * TOKENS * WIDTH  # FLOP of the product that makes the scale, which isn't counted


@pytest.mark.parametrize(
    ("module", "function", "uncounted"),
    [
        (bottleneck_adapter, bottleneck_adapter.function, 0),
        (temporal_adapter, ops.temporal_adapter, THIN),
    ],
)
def test_flops_are_those_of_the_products(
    module: ModuleType, function: Callable[..., Tensor], uncounted: int
) -> None:
    op = Operator("of the test", module.shapes, function, module.flops)
    tensors = [torch.empty(shape, device="meta").requires_grad_() for shape in op.shapes(1, 24)]
    with FlopCounterMode(display=False) as counter:
        y = op.function(*tensors, backend="reference")
    assert counter.get_total_flops() == operators.work(op, "forward", 1, 24) + uncounted
    with FlopCounterMode(display=False) as counter:
        torch.autograd.grad(y, tensors, torch.empty_like(y))
    both_ways = operators.work(op, "forward and backward", 1, 24) + 3 * uncounted
    forward = operators.work(op, "forward", 1, 24) + uncounted
    assert counter.get_total_flops() == pytest.approx(both_ways - forward, rel=0.02)
