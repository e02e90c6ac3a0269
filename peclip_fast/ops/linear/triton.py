"""Products with frozen weights on the GPU, next to the Triton kernels of a frozen block.

There is nothing to fuse here: cuBLAS adds the bias as it writes the product, and a frozen weight
needs one product more for x's gradient. So these are PyTorch's, on weights that are cast once.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from peclip_fast.ops.declared import Kernel, declare
from peclip_fast.ops.devices import triton_missing
from peclip_fast.ops.frozen import as_computed
from peclip_fast.ops.implementations import implement

declare(
    "linear",
    "triton",
    Kernel(
        devices=("cuda",),
        missing=triton_missing,
        verified=False,  # never run on a GPU
        capability=(8, 0),
    ),
)


def linear(x: Tensor, weight: Tensor, bias: Tensor | None, dtype: torch.dtype) -> Tensor:
    """x (..., K) -> W x + b, (..., N), in `dtype`; all of them have gradients."""
    weight = as_computed(weight, dtype)
    bias = None if bias is None else as_computed(bias, dtype)
    return F.linear(x.to(dtype), weight, bias)


implement("linear", "triton", linear)
