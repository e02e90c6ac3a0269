"""The operators: each with its plain-PyTorch reference beside it."""

from peclip_fast.ops.bottleneck_adapter import bottleneck_adapter
from peclip_fast.ops.temporal_adapter import temporal_adapter

__all__ = ["bottleneck_adapter", "temporal_adapter"]
