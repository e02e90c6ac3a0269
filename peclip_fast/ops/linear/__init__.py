"""Products with frozen weights."""

from peclip_fast.ops.linear import triton  # the backend: it registers itself
from peclip_fast.ops.linear.operator import linear

__all__ = ["linear", "triton"]
