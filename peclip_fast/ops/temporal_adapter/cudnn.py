"""The temporal adapter in plain PyTorch around PyTorch's own GRU, which on a GPU is cuDNN's.

Its other recurrences (LSTM, RNN) are PyTorch's modules and so cuDNN's as they are.
"""

from __future__ import annotations

import torch
from torch import Tensor

from peclip_fast.ops.declared import Kernel, declare
from peclip_fast.ops.devices import cudnn_missing
from peclip_fast.ops.implementations import implement
from peclip_fast.ops.temporal_adapter.reference import temporal_adapter_reference
from peclip_fast.ops.temporal_adapter.weights import OP, TemporalWeights

declare(
    OP,
    "cudnn",
    Kernel(
        ("cuda",),
        cudnn_missing,
        verified=False,  # never run on a GPU
        frames=(1, 2**31 - 1),
    ),
)


def temporal_adapter(
    x: Tensor, residual: Tensor | None, weights: TemporalWeights, scaling: str
) -> Tensor:
    """See the operator."""
    return temporal_adapter_reference(x, residual, weights, scaling=scaling, recurrence=recurrence)


implement(OP, "cudnn", temporal_adapter)


def recurrence(d: Tensor, weights: TemporalWeights) -> Tensor:
    """d (B, T, L, h) -> the GRU's states (B, T, L, h), in d's dtype, under autocast too.

    Where cuDNN doesn't take the dtype, PyTorch walks over the frames itself.
    """
    clips, frames, tokens, hidden = d.shape
    with torch.autocast(d.device.type, enabled=False):
        # One after another in one piece of memory, as cuDNN wants them: rounded by one kernel.
        given = weights[6:10]
        flat = torch.cat([w.flatten() for w in given]).to(d.dtype)
        parts = flat.split([w.numel() for w in given])
        if d.numel() == 0:  # which cuDNN refuses
            return d + 0 * flat.sum()
        sequences = d.transpose(0, 1).reshape(frames, clips * tokens, hidden)
        states, _ = torch.gru(
            sequences,
            sequences.new_zeros(1, clips * tokens, hidden),
            [part.view_as(w) for part, w in zip(parts, given, strict=True)],
            has_biases=True,
            num_layers=1,
            dropout=0.0,
            train=torch.is_grad_enabled(),
            bidirectional=False,
            batch_first=False,
        )
    return states.view(frames, clips, tokens, hidden).transpose(0, 1)
