"""The bottleneck adapter: ``residual + skip * x + scale * up(GELU(down(x)))``.

PE-CLIP's ShA and TA (equations 3 to 6), and FineCLIPER's adapters.
"""

from peclip_fast.ops.bottleneck_adapter import cpu, triton  # the backends: they register themselves
from peclip_fast.ops.bottleneck_adapter.operator import bottleneck_adapter
from peclip_fast.ops.bottleneck_adapter.reference import OP, bottleneck_adapter_reference

__all__ = ["OP", "bottleneck_adapter", "bottleneck_adapter_reference", "cpu", "triton"]
