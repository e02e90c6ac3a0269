"""Operands of the bottleneck adapter, and checks that all its backends pass."""

from __future__ import annotations

import itertools
import zlib
from collections.abc import Callable

import torch
from helpers.numerics.comparison import FLOATS
from helpers.numerics.rounding import Results, follow, no_worse_than_rounding
from torch import Tensor

from peclip_fast.ops import bottleneck_adapter

OPS = torch.ops.peclip_fast


NAMES = ("x", "down_weight", "down_bias", "up_weight", "up_bias", "residual")


Layout = Callable[[Tensor], Tensor]


def inputs(
    shape: tuple[int, ...],
    hidden: int,
    dtype: torch.dtype = torch.float32,
    residual: bool = True,
) -> dict[str, Tensor | None]:
    """Operands and dy in fp64, values that `dtype` holds, drawn anew for each size and dtype."""
    seed = zlib.crc32(repr((shape, hidden, dtype, residual)).encode())
    generator = torch.Generator().manual_seed(seed)
    width = shape[-1]

    def draw(*size: int, spread: float = 1.0) -> Tensor:
        values = torch.randn(*size, generator=generator, dtype=torch.float64) * spread
        return values.to(dtype).double()

    return {
        "x": draw(*shape),
        "down_weight": draw(hidden, width, spread=width**-0.5),
        "down_bias": draw(hidden),
        "up_weight": draw(width, hidden, spread=hidden**-0.5),
        "up_bias": draw(width),
        "residual": draw(*shape) if residual else None,
        "dy": draw(*shape),
    }


def run(
    operands: dict[str, Tensor | None],
    backend: str,
    dtype: torch.dtype,
    device: str = "cpu",
    layouts: dict[str, Layout] | None = None,
    **form: object,
) -> Results:
    """y and the gradient of every operand that isn't None; `layouts` say how operands lie."""

    def placed(name: str) -> Tensor | None:
        t = operands[name]
        layout = (layouts or {}).get(name, lambda t: t)
        return None if t is None else layout(t.to(device, dtype)).detach()

    leaves = {name: placed(name) for name in NAMES}
    given = {name: t.requires_grad_() for name, t in leaves.items() if t is not None}
    y = bottleneck_adapter(**leaves, backend=backend, **form)
    grads = torch.autograd.grad(y, list(given.values()), placed("dy"))
    return {"y": y.detach(), **dict(zip(given, grads, strict=True))}


def check_against_fp64(
    shape: tuple[int, ...],
    hidden: int,
    dtype: torch.dtype,
    device: str,
    residual: bool = True,
    layouts: dict[str, Layout] | None = None,
    backend: str = "triton",
    **form: object,
) -> None:
    operands = inputs(shape, hidden, dtype, residual)
    no_worse_than_rounding(
        run(operands, backend, dtype, device, layouts, **form),
        run(operands, "reference", torch.float64, **form),
        follow(lambda given: run(given, "reference", dtype, **form), operands),
    )


def check_autocast(
    x_dtype: torch.dtype, dtype: torch.dtype, skip: bool, device: str, backend: str
) -> None:
    """Products in autocast's dtype, the sums in their own, as PyTorch does for the reference."""

    def results(operands: dict[str, Tensor | None], backend: str) -> Results:
        leaves = {
            name: t.to(device, x_dtype if name == "x" else torch.float32).requires_grad_()
            for name, t in operands.items()
            if t is not None and name != "dy"
        }
        with torch.autocast(device, dtype):
            y = bottleneck_adapter(**leaves, skip=skip, backend=backend)
        assert y.dtype == (torch.float32 if skip else dtype)
        grads = torch.autograd.grad(y, list(leaves.values()), operands["dy"].to(device, y.dtype))
        return {"y": y.detach(), **dict(zip(leaves, grads, strict=True))}

    operands = inputs((21, 96), 24, torch.bfloat16, skip)
    no_worse_than_rounding(
        results(operands, backend),
        run(operands, "reference", torch.float64, skip=skip),
        follow(lambda given: results(given, "reference"), operands),
    )


# Mixes of dtypes that autocast can bring about, and forms: every pair of values of the four, and
# one dtype for all with and without a residual.
MIXES = [
    (FLOATS[i], FLOATS[i if j == 3 else -(i + j) % 3], (*FLOATS, None)[j], (i + j % 3) % 2 > 0)
    for i, j in itertools.product(range(3), range(4))
]
