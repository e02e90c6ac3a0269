"""The MLP of a frozen block: two products and what stands between them."""

from peclip_fast.ops.feed_forward import triton  # the backend: it registers itself
from peclip_fast.ops.feed_forward.fused import fused_backward, fused_forward
from peclip_fast.ops.feed_forward.operator import activate, feed_forward, feed_forward_reference

__all__ = [
    "activate", "feed_forward", "feed_forward_reference", "fused_backward", "fused_forward",
    "triton",
]  # fmt: skip
