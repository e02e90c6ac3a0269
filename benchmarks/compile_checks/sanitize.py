"""``python -m benchmarks.compile_checks.sanitize``: small cases of each CUDA and Triton kernel.

For compute-sanitizer, on a GPU. The sizes are odd, rows start where no vector load may, weights do
not fit in shared memory, and warps and blocks have nothing to do.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from peclip_fast import ops

DTYPES = (torch.float32, torch.bfloat16, torch.float16)


class Case(NamedTuple):
    """Sizes as in ops.temporal_adapter."""

    clips: int
    frames: int
    tokens: int
    width: int
    hidden: int
    unaligned: bool = False
    """Whether x, the residual and the gradient are parts of wider tensors, an odd number in."""
    scaling: str = "after_up"
    residual: bool = True
    autocast: bool = False
    """Tensors in float32 and products in bfloat16."""


CASES = (
    Case(1, 3, 5, 64, 24),
    Case(2, 1, 5, 130, 13),  # one frame; neither D nor h divides anything
    Case(1, 2, 3, 37, 5, unaligned=True, scaling="input", residual=False),
    Case(2, 3, 17, 130, 20, unaligned=True, scaling="recurrence"),
    Case(1, 17, 33, 96, 48, autocast=True, scaling="none"),  # 33 sequences: blocks with a tail
    Case(1, 2, 3, 1024, 192),  # recurrent weights that don't all fit
    Case(1, 2, 300, 768, 96),  # more tiles of rows than warps of a block
)


def temporal_adapter(case: Case, dtype: torch.dtype, device: str, backend: str) -> list[Tensor]:
    """The output and all gradients."""
    wide = (case.clips, case.frames, case.tokens, case.width)
    h, width = case.hidden, case.width
    shapes: list[tuple[int, ...]] = [
        (width,), (width,), (1, width), (1,), (h, width), (h,), (3 * h, h), (3 * h, h), (3 * h,),
        (3 * h,), (width, h), (width,),
    ]  # fmt: skip
    x, residual, grad = (draw(wide, dtype, device, case.unaligned) for _ in range(3))
    weights: list[Tensor | None] = [draw(shape, dtype, device) for shape in shapes]
    if case.scaling == "none":
        weights[2:4] = None, None
    return both_ways(
        lambda x, residual, *weights: ops.temporal_adapter(
            x, residual, *weights, scaling=case.scaling, backend=backend
        ),
        [x, residual if case.residual else None, *weights], grad, case,
    )  # fmt: skip


def bottleneck_adapter(case: Case, dtype: torch.dtype, device: str, backend: str) -> list[Tensor]:
    """The output and all gradients."""
    wide = (case.clips * case.frames, case.tokens, case.width)
    h, width = case.hidden, case.width
    x, residual, grad = (draw(wide, dtype, device, case.unaligned) for _ in range(3))
    weights = [draw(shape, dtype, device) for shape in ((h, width), (h,), (width, h), (width,))]
    return both_ways(
        lambda x, residual, *weights: ops.bottleneck_adapter(
            x, *weights, residual, backend=backend
        ),
        [x, residual if case.residual else None, *weights], grad, case,
    )  # fmt: skip


def layer_norm(case: Case, dtype: torch.dtype, device: str, backend: str) -> list[Tensor]:
    """The sum of both results and all gradients, with learned tokens at the end."""
    wide = (case.clips * case.frames, case.tokens, case.width)
    x, residual, grad = (draw(wide, dtype, device, case.unaligned) for _ in range(3))
    weights = [draw((case.width,), dtype, device) for _ in range(2)]
    learned, start = draw((1, case.width), dtype, device), case.tokens - 1
    return both_ways(
        lambda x, residual, learned, *weights: sum(
            ops.layer_norm(x, *weights, residual, learned=learned, start=start, backend=backend)
        ),
        [x, residual if case.residual else None, learned, *weights], grad, case,
    )  # fmt: skip


def feed_forward(case: Case, dtype: torch.dtype, device: str, backend: str) -> list[Tensor]:
    """The output and all gradients."""
    wide, h, width = (case.clips * case.frames, case.tokens, case.width), case.hidden, case.width
    x, grad = (draw(wide, dtype, device, case.unaligned) for _ in range(2))
    weights = [draw(shape, dtype, device) for shape in ((h, width), (h,), (width, h), (width,))]
    return both_ways(
        lambda *tensors: ops.feed_forward(*tensors, backend=backend), [x, *weights], grad, case
    )


def linear(case: Case, dtype: torch.dtype, device: str, backend: str) -> list[Tensor]:
    """The output and all gradients."""
    rows = (case.clips * case.frames, case.tokens)
    x, grad = (
        draw((*rows, n), dtype, device, case.unaligned) for n in (case.width, case.hidden)
    )  # fmt: skip
    weights = [draw(shape, dtype, device) for shape in ((case.hidden, case.width), (case.hidden,))]
    return both_ways(
        lambda *tensors: ops.linear(*tensors, backend=backend), [x, *weights], grad, case
    )


def attention(case: Case, dtype: torch.dtype, device: str, backend: str) -> list[Tensor]:
    """The output and the packed gradient; the heads are as many as leave at most 128 columns."""
    heads = next(n for n in range(1, 99) if case.width % n == 0 and case.width // n <= 128)
    rows = (case.clips * case.frames, case.tokens)
    qkv, grad = (draw((*rows, n * case.width), dtype, device, case.unaligned) for n in (3, 1))
    return both_ways(
        lambda qkv: ops.attention(qkv, heads, causal=case.residual, backend=backend),
        [qkv], grad, case,
    )  # fmt: skip


def pixels(case: Case, dtype: torch.dtype, device: str, backend: str) -> list[Tensor]:
    """Frames by themselves and mixed in both ways, normalized, the colours first and last."""
    clips, size = case.clips + 1, (case.tokens, case.hidden)
    whole = (clips, case.frames, 3, size[0], size[1] + 3)
    wide = torch.randint(256, whole, device=device, dtype=torch.uint8)
    frames = wide[..., 1:-2] if case.unaligned else wide[..., 3:].contiguous()
    constants = [torch.rand(3, 1, 1, device=device, dtype=torch.float64) + 0.2 for _ in range(2)]
    partners = torch.randperm(clips, device=device)
    keep = torch.rand(size, device=device) < 0.5
    with torch.autocast(device, torch.bfloat16, enabled=case.autocast):
        return [
            ops.pixels(given, *constants, *mixing, dtype=dtype, backend=backend)
            for given in (frames, frames.movedim(-3, -1).contiguous().movedim(-1, -3))
            for mixing in ((), (partners, None, 0.3), (partners, keep))
        ]


KERNELS = (
    (temporal_adapter, "cuda"),
    (temporal_adapter, "triton"),
    (bottleneck_adapter, "triton"),
    (layer_norm, "triton"),
    (feed_forward, "triton"),
    (linear, "triton"),
    (attention, "triton"),
    (pixels, "triton"),
)


def draw(
    shape: tuple[int, ...], dtype: torch.dtype, device: str, unaligned: bool = False
) -> Tensor:
    """A leaf with small values."""
    wider = (*shape[:-1], shape[-1] + 3) if unaligned else shape
    values = (0.3 * torch.randn(wider, device=device)).to(dtype)
    return (values[..., 1 : 1 + shape[-1]] if unaligned else values).requires_grad_()


def both_ways(
    operator: Callable[..., Tensor], operands: list[Tensor | None], grad: Tensor, case: Case
) -> list[Tensor]:
    with torch.autocast(grad.device.type, torch.bfloat16, enabled=case.autocast):
        y = operator(*operands)
    tensors = [t for t in operands if t is not None]
    return [y, *torch.autograd.grad(y, tensors, grad.detach().to(y.dtype))]


def main() -> None:
    """Forward and backward of all operators; fails if a result isn't finite."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.compile_checks.sanitize", description=__doc__
    )
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--backends", nargs="+", default=("cuda", "triton"))
    options = parser.parse_args()
    torch.manual_seed(0)
    for operator, backend in KERNELS:
        if backend not in options.backends:
            continue
        for case in CASES:
            for dtype in DTYPES[:1] if case.autocast else DTYPES:
                what = f"{operator.__name__} {backend} {dtype} {case}"
                for tensor in operator(case, dtype, options.device, backend):
                    if not tensor.isfinite().all():
                        raise SystemExit(f"{what}: not finite")
                print(f"{what}: ran", flush=True)


if __name__ == "__main__":
    main()
