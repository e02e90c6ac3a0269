"""``python -m benchmarks.temporal_adapter``: its backends beside nn.GRU and torch.compile."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.measure.operators import FRAMES, TOKENS, WIDTH, Contender, Operator, main
from peclip_fast import ops


def shapes(clips: int, hidden: int) -> list[tuple[int, ...]]:
    wide, gates = (clips, FRAMES, TOKENS, WIDTH), 3 * hidden
    return [
        wide, wide, (WIDTH,), (WIDTH,), (1, WIDTH), (1,), (hidden, WIDTH), (hidden,),
        (gates, hidden), (gates, hidden), (gates,), (gates,), (WIDTH, hidden), (WIDTH,),
    ]  # fmt: skip


def flops(clips: int, hidden: int) -> int:
    """The two D-wide products and the six of the gates; the scale's is too thin to count."""
    return clips * FRAMES * TOKENS * 2 * (2 * WIDTH * hidden + 6 * hidden**2)


class WithGRU(nn.Module):
    """The adapter as one writes it with PyTorch's modules: on a GPU the GRU is cuDNN's."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        # In the order of the operator's weights.
        self.norm = nn.LayerNorm(width)
        self.scale = nn.Linear(width, 1)
        self.down = nn.Linear(width, hidden)
        self.gru = nn.GRU(hidden, hidden)
        self.up = nn.Linear(hidden, width)

    def forward(self, x: Tensor, residual: Tensor) -> Tensor:
        clips, frames, tokens, _ = x.shape
        z = self.norm(x)
        d = self.down(z).transpose(0, 1).reshape(frames, clips * tokens, -1)
        g = self.gru(d)[0].view(frames, clips, tokens, -1).transpose(0, 1)
        return residual + x + F.relu(self.scale(z)) * self.up(F.gelu(g))


def with_gru(weights: list[Tensor]) -> Contender:
    down = weights[4]
    module = WithGRU(down.shape[1], down.shape[0]).to(down.device, down.dtype)
    with torch.no_grad():
        for own, given in zip(module.parameters(), weights, strict=True):
            own.copy_(given)
    return Contender(module, list(module.parameters()))


if __name__ == "__main__":
    opponents = {"nn.GRU": with_gru}
    main(Operator("temporal_adapter", shapes, ops.temporal_adapter, flops, opponents))
