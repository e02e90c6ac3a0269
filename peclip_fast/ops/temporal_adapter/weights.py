"""The temporal adapter's weights and constants."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor, nn

from peclip_fast.errors import InputError

OP = "temporal_adapter"
EPSILON = 1e-5  # of the LayerNorm

# Where the scale s multiplies, and its number in enum Scaling of csrc/: to the recurrence and what
# follows it, a scaled input is an input like any other.
SCALING_NUMBERS = {"none": 0, "input": 0, "recurrence": 1, "after_up": 2}
SCALINGS = tuple(SCALING_NUMBERS)


class TemporalWeights(NamedTuple):
    """The twelve weights, or their gradients.

    Linear layers have nn.Linear's layout and the recurrence nn.GRU's: its 3h rows are those of the
    gates r, z, n.
    """

    norm_weight: Tensor
    """(D,), of the LayerNorm."""
    norm_bias: Tensor
    """(D,)"""
    scale_weight: Tensor | None
    """(1, D), None without a scale."""
    scale_bias: Tensor | None
    """(1,)"""
    down_weight: Tensor
    """(h, D)"""
    down_bias: Tensor
    """(h,)"""
    weight_ih: Tensor
    """(3h, h)"""
    weight_hh: Tensor
    """(3h, h)"""
    bias_ih: Tensor
    """(3h,)"""
    bias_hh: Tensor
    """(3h,)"""
    up_weight: Tensor
    """(D, h)"""
    up_bias: Tensor
    """(D,)"""


def gru_weights(gru: nn.GRU) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Give weight_ih, weight_hh, bias_ih, bias_hh of a GRU as `temporal_adapter` takes them.

    They are the module's own tensors: what trains one trains the other.

    Raises:
        InputError: `gru` has several layers, two directions, no biases, a projection, or an input
            that isn't as wide as its state.
    """
    plain = gru.num_layers == 1 and not gru.bidirectional and gru.bias and not gru.proj_size
    if not plain or gru.input_size != gru.hidden_size:
        raise InputError(
            f"{OP}: {gru} can't be its recurrence: expected nn.GRU(h, h) with one layer, one "
            "direction and biases"
        )
    weight_ih, weight_hh, bias_ih, bias_hh = gru.all_weights[0]
    return weight_ih, weight_hh, bias_ih, bias_hh


def gru_with(weight_ih: Tensor, weight_hh: Tensor, bias_ih: Tensor, bias_hh: Tensor) -> nn.GRU:
    """Give an nn.GRU with copies of these weights of `temporal_adapter`, the time axis first.

    With a zero initial state it goes over (T, sequences, h) as `temporal_adapter` does.
    """
    hidden = weight_hh.shape[1]
    gru = nn.GRU(hidden, hidden, device=weight_hh.device, dtype=weight_hh.dtype)
    names = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")
    tensors = (weight_ih, weight_hh, bias_ih, bias_hh)
    gru.load_state_dict(dict(zip(names, tensors, strict=True)))
    return gru
