"""LayerNorm of a residual stream, with the residual's addition and with learned tokens put in."""

from peclip_fast.ops.layer_norm import triton  # the backend: it registers itself
from peclip_fast.ops.layer_norm.operator import layer_norm
from peclip_fast.ops.layer_norm.reference import OP, layer_norm_reference, put

__all__ = ["OP", "layer_norm", "layer_norm_reference", "put", "triton"]
