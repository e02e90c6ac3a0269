"""Self-attention from the product that gives queries, keys and values."""

from peclip_fast.ops.attention import triton  # the backend: it registers itself
from peclip_fast.ops.attention.operator import attention, attention_reference

__all__ = ["attention", "attention_reference", "triton"]
