"""The Temporal Dynamic Adapter (TDA): a GRU over the frames of a clip, scaled frame by frame.

PE-CLIP, equations 7 to 12. Every backend has the same stages, forward and backward: `down` from D
to h, the `recurrence` over the frames, and `up` from h to D.
"""

# The backends register themselves.
from peclip_fast.ops.temporal_adapter import cpu, cuda, cudnn, triton
from peclip_fast.ops.temporal_adapter.operator import temporal_adapter
from peclip_fast.ops.temporal_adapter.reference import temporal_adapter_reference
from peclip_fast.ops.temporal_adapter.weights import (
    OP,
    SCALINGS,
    TemporalWeights,
    gru_weights,
    gru_with,
)

__all__ = [
    "OP",
    "SCALINGS",
    "TemporalWeights",
    "cpu",
    "cuda",
    "cudnn",
    "gru_weights",
    "gru_with",
    "temporal_adapter",
    "temporal_adapter_reference",
    "triton",
]
