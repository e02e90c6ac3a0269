"""Operands of the temporal adapter, and what it makes of them."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from helpers.numerics.rounding import Results
from torch import Tensor

from peclip_fast.ops import temporal_adapter
from peclip_fast.ops.temporal_adapter import (
    gru_with,
)

NAMES = (
    "out", "x", "residual", "norm_weight", "norm_bias", "scale_weight", "scale_bias",
    "down_weight", "down_bias", "weight_ih", "weight_hh", "bias_ih", "bias_hh", "up_weight",
    "up_bias",
)  # fmt: skip


def inputs(
    shape: tuple[int, int, int, int],
    hidden: int,
    dtype: torch.dtype = torch.float32,
    scaling: str = "after_up",
    seed: int = 0,
) -> tuple[list[Tensor | None], Tensor]:
    """Random operands in fp64 with values that `dtype` holds, and an output gradient."""
    generator = torch.Generator().manual_seed(seed)
    width = shape[-1]

    def draw(*size: int, spread: float = 1.0, around: float = 0.0) -> Tensor:
        values = torch.randn(*size, generator=generator, dtype=torch.float64) * spread + around
        return values.to(dtype).double()

    scaled = scaling != "none"
    operands = [
        draw(*shape, spread=2.0, around=0.5),
        draw(*shape),
        draw(width, spread=0.3, around=1.0),
        draw(width),
        draw(1, width, spread=width**-0.5) if scaled else None,
        draw(1, around=0.3) if scaled else None,
        draw(hidden, width, spread=width**-0.5),
        draw(hidden),
        *(draw(3 * hidden, hidden, spread=hidden**-0.5) for _ in range(2)),
        *(draw(3 * hidden) for _ in range(2)),
        draw(width, hidden, spread=hidden**-0.5),
        draw(width),
    ]
    return operands, draw(*shape)


def run(
    operands: list[Tensor | None], grad: Tensor, backend: str, dtype: torch.dtype, scaling: str
) -> list[Tensor | None]:
    """The output and the gradient of every operand; None for an operand that is None."""
    leaves = [None if t is None else t.to(dtype).requires_grad_() for t in operands]
    y = temporal_adapter(*leaves, scaling=scaling, backend=backend)
    grads = iter(torch.autograd.grad(y, [t for t in leaves if t is not None], grad.to(y.dtype)))
    return [y.detach(), *(None if t is None else next(grads) for t in leaves)]


def named(results: list[Tensor | None]) -> Results:
    """The results of run() that there are, by name."""
    return {name: t for name, t in zip(NAMES, results, strict=True) if t is not None}


def nn_gru(operands: list[Tensor], scaling: str = "after_up") -> Tensor:
    """The TDA around torch.nn.GRU, as a second oracle."""
    x, residual, *norm, scale_weight, scale_bias, down_weight, down_bias = operands[:8]
    gru = gru_with(*operands[8:12])
    z = F.layer_norm(x, x.shape[-1:], *norm)
    s = F.relu(F.linear(z, scale_weight, scale_bias))
    d = F.linear(z, down_weight, down_bias)
    g = torch.stack([gru(clip)[0] for clip in d], 0)
    return residual + x + s * F.linear(F.gelu(g), *operands[12:])
