"""The operators: each with its plain-PyTorch reference beside it."""

from peclip_fast.ops.bottleneck_adapter import bottleneck_adapter
from peclip_fast.ops.temporal_adapter import gru_weights, gru_with, temporal_adapter

__all__ = ["bottleneck_adapter", "gru_weights", "gru_with", "temporal_adapter"]
