"""The operators, each with a reference in plain PyTorch."""

from peclip_fast.ops import declared
from peclip_fast.ops.attention import attention
from peclip_fast.ops.bottleneck_adapter import bottleneck_adapter
from peclip_fast.ops.feed_forward import feed_forward
from peclip_fast.ops.layer_norm import layer_norm
from peclip_fast.ops.linear import linear
from peclip_fast.ops.pixels import pixels
from peclip_fast.ops.temporal_adapter import gru_weights, gru_with, temporal_adapter
from peclip_fast.ops.verdicts import store

declared.ship(store.shipped_choices)

__all__ = [
    "attention",
    "bottleneck_adapter",
    "feed_forward",
    "gru_weights",
    "gru_with",
    "layer_norm",
    "linear",
    "pixels",
    "temporal_adapter",
]
