"""Two products and the activation between them as one kernel, on the CPU's units for bfloat16.

The hidden numbers that it keeps for the backward pass lie by panels of 32 columns: (H / 32, n, 32).
"""

from __future__ import annotations

import torch
from torch import Tensor

from peclip_fast.ops import extension
from peclip_fast.ops.products import STEP, weight_parts

ACTIVATIONS = {"quick_gelu": 0, "gelu": 1}  # enum Activation in csrc/


def fused_forward(
    rows: Tensor, in_weight: Tensor, in_bias: Tensor, out_weight: Tensor, out_bias: Tensor,
    activation: str, added: tuple[Tensor, ...] = (), *, save: bool,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """What products.takes() takes, contiguous rows (n, D) -> (n, D), and the hidden numbers.

    At most two contiguous tensors (n, D) are added; those have the rows' dtype.
    """
    hidden = len(in_weight)
    kept = rows.new_empty(hidden // STEP, len(rows) if save else 0, STEP)
    out = rows.new_empty(rows.shape)
    in_weight, out_weight = in_weight.contiguous(), out_weight.contiguous()
    in_bias, out_bias = in_bias.float().contiguous(), out_bias.float().contiguous()
    first, second, *_ = (*(t.data_ptr() for t in added), 0, 0)
    extension.load().feed_forward_cpu(
        len(rows), ACTIVATIONS[activation], rows.data_ptr(), weight_parts(in_weight),
        in_bias.data_ptr(), weight_parts(out_weight), out_bias.data_ptr(), (first, second),
        kept.data_ptr() if save else 0, out.data_ptr(), torch.get_num_threads(),
    )  # fmt: skip
    return out, kept


def fused_backward(
    grad: Tensor, hidden: Tensor, in_weight: Tensor, in_bias: Tensor, out_weight: Tensor,
    activation: str, added: Tensor | None = None, *, trained: bool = False,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """The rows' gradient (n, D), to which ``added`` is added.

    With ``trained`` also the activated numbers and the gradient of the first product with its bias,
    both (n, H), as the weights' gradients need them.
    """
    dx, shape = torch.empty_like(grad), (len(grad) if trained else 0, len(in_weight))
    activated, slope = grad.new_empty(shape), grad.new_empty(shape)
    in_weight, out_weight = in_weight.contiguous(), out_weight.contiguous()
    in_bias = in_bias.float().contiguous()
    extension.load().feed_forward_cpu_backward(
        len(grad), ACTIVATIONS[activation], grad.data_ptr(),
        weight_parts(in_weight, by_rows=True), in_bias.data_ptr(),
        weight_parts(out_weight, by_rows=True), 0 if added is None else added.data_ptr(),
        hidden.data_ptr(), activated.data_ptr() if trained else 0,
        slope.data_ptr() if trained else 0, dx.data_ptr(), torch.get_num_threads(),
    )  # fmt: skip
    return dx, activated, slope
