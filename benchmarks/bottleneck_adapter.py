"""``python -m benchmarks.bottleneck_adapter``: its backends beside eager and torch.compile."""

from __future__ import annotations

from torch import Tensor

from benchmarks.measure.operators import FRAMES, TOKENS, WIDTH, Operator, main
from peclip_fast import ops


def shapes(clips: int, hidden: int) -> list[tuple[int, ...]]:
    wide = (clips * FRAMES, TOKENS, WIDTH)
    return [wide, wide, (hidden, WIDTH), (hidden,), (WIDTH, hidden), (WIDTH,)]


def flops(clips: int, hidden: int) -> int:
    """The two D-wide products."""
    return clips * FRAMES * TOKENS * 2 * (2 * WIDTH * hidden)


def function(x: Tensor, residual: Tensor, *weights: Tensor, backend: str) -> Tensor:
    return ops.bottleneck_adapter(x, *weights, residual, backend=backend)


if __name__ == "__main__":
    main(Operator("bottleneck_adapter", shapes, function, flops))
