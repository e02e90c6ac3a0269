"""The trained modules inside the frozen blocks. Each knows its own parameters; all are trained."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from peclip_fast import ops
from peclip_fast.errors import InputError
from peclip_fast.ops.backends import named_or_auto


def bottleneck_width(width: int, reduction: int) -> int:
    """D/r, or InputError when the reduction leaves no whole number."""
    if width % reduction:
        raise InputError(f"reduction={reduction}: expected a divisor of the width {width}")
    return width // reduction


class BottleneckAdapter(nn.Module):
    """``residual + skip * x + scale * (W_u GELU(W_d x + b_d) + b_u)``.

    ShA and TA (PE-CLIP, equations 3 to 6), and FineCLIPER's adapters.

    Args:
        width: D.
        hidden: h, the bottleneck's width.
        backend: of the operator; ``auto`` where that has none of this name.
        skip: whether x itself is added.
        scale: of what the adapter adds.
    """

    def __init__(
        self, width: int, hidden: int, backend: str = "auto", skip: bool = True, scale: float = 1.0
    ) -> None:
        super().__init__()
        self.down = nn.Linear(width, hidden)
        self.up = nn.Linear(hidden, width)
        self.backend = named_or_auto("bottleneck_adapter", backend)
        self.skip, self.scale = skip, scale

    def forward(self, x: Tensor, residual: Tensor | None, factor: float = 1.0) -> Tensor:
        """x, residual (..., D) -> (..., D); ``factor`` is one more of what the adapter adds."""
        return ops.bottleneck_adapter(
            x,
            self.down.weight,
            self.down.bias,
            self.up.weight,
            self.up.bias,
            residual,
            skip=self.skip,
            scale=self.scale * factor,
            backend=self.backend,
        )


class GRU(nn.Module):
    """The weights of an nn.GRU, drawn and named as there, for the operator that walks the frames.

    No nn.GRU itself, because torch.compile refuses a model that holds one.
    """

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        for name, parameter in nn.GRU(width, hidden).named_parameters():
            self.register_parameter(name, parameter)

    def weights(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """weight_ih, weight_hh, bias_ih, bias_hh."""
        weight_ih, weight_hh, bias_ih, bias_hh = self.parameters()
        return weight_ih, weight_hh, bias_ih, bias_hh


RECURRENCES = {"gru": GRU, "lstm": nn.LSTM, "rnn": nn.RNN}


class TemporalAdapter(nn.Module):
    """The TDA (paper, equations 7 to 12), with the recurrences and scalings of Tables 7 and 8.

    The up-projection starts at zero, so that training starts from plain CLIP along this path.
    """

    def __init__(
        self,
        width: int,
        reduction: int,
        recurrence: str = "gru",
        scaling: str = "after_up",
        backend: str = "auto",
    ) -> None:
        super().__init__()
        hidden = bottleneck_width(width, reduction)
        self.norm = nn.LayerNorm(width)
        self.scale = nn.Linear(width, 1) if scaling != "none" else None
        self.down = nn.Linear(width, hidden)
        self.recurrence = RECURRENCES[recurrence](hidden, hidden) if recurrence != "none" else None
        self.up = nn.Linear(hidden, width)
        nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.up.bias)
        self.scaling = scaling
        self.backend = named_or_auto("temporal_adapter", backend)

    def forward(self, x: Tensor, residual: Tensor) -> Tensor:
        """x, residual (B, T, L, D) -> residual + x + TDA(x), same shape."""
        if not isinstance(self.recurrence, GRU):
            return self._plain(x, residual)
        return ops.temporal_adapter(
            x,
            residual,
            self.norm.weight,
            self.norm.bias,
            self.scale.weight if self.scale is not None else None,
            self.scale.bias if self.scale is not None else None,
            self.down.weight,
            self.down.bias,
            *self.recurrence.weights(),
            self.up.weight,
            self.up.bias,
            scaling=self.scaling,
            backend=self.backend,
        )

    def scales(self, x: Tensor) -> Tensor | None:
        """x (..., D) -> the factor s of each token (...), equation 8; None without scaling."""
        return None if self.scale is None else F.relu(self.scale(self.norm(x))).squeeze(-1)

    def _plain(self, x: Tensor, residual: Tensor) -> Tensor:
        """The other rows of Table 8 (LSTM, RNN, none), in plain PyTorch."""
        z = self.norm(x)
        d = self.down(z)
        s = F.relu(self.scale(z)) if self.scale is not None else None
        if self.scaling == "input":
            d = s * d
        g = d
        if self.recurrence is not None:
            sequences = d.transpose(0, 1)  # (T, B, L, h): time first, as nn.RNN takes it
            g = self.recurrence(sequences.flatten(1, 2))[0]
            g = g.view(sequences.shape).transpose(0, 1)
        if self.scaling == "recurrence":
            g = s * g
        y = self.up(F.gelu(g))
        if self.scaling == "after_up":
            y = s * y
        return residual + x + y
