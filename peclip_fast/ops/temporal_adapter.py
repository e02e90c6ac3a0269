"""The Temporal Dynamic Adapter (TDA): a GRU over the frames of a clip, scaled frame by frame."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from peclip_fast.errors import InputError
from peclip_fast.ops import (
    backends,
    temporal_adapter_cpu,  # noqa: F401  (registers its backend)
    temporal_adapter_cuda,  # noqa: F401
    temporal_adapter_operator,
    temporal_adapter_triton,  # noqa: F401
)

OP = "temporal_adapter"
SCALINGS = ("none", "input", "recurrence", "after_up")


def temporal_adapter_reference(
    x: Tensor,
    residual: Tensor | None,
    norm_weight: Tensor,
    norm_bias: Tensor,
    scale_weight: Tensor | None,
    scale_bias: Tensor | None,
    down_weight: Tensor,
    down_bias: Tensor,
    weight_ih: Tensor,
    weight_hh: Tensor,
    bias_ih: Tensor,
    bias_hh: Tensor,
    up_weight: Tensor,
    up_bias: Tensor,
    *,
    scaling: str = "after_up",
) -> Tensor:
    """Plain PyTorch, as the equations read (paper, equations 7 to 12)."""
    z = F.layer_norm(x, x.shape[-1:], norm_weight, norm_bias)
    d = F.linear(z, down_weight, down_bias)
    if scaling != "none":
        assert scale_weight is not None
        s = F.relu(F.linear(z, scale_weight, scale_bias))
    if scaling == "input":
        d = s * d
    hidden = d.new_zeros(d[:, 0].shape)
    states = []
    for gates in F.linear(d, weight_ih, bias_ih).unbind(1):
        r_i, z_i, n_i = gates.chunk(3, -1)
        r_h, z_h, n_h = F.linear(hidden, weight_hh, bias_hh).chunk(3, -1)
        update = torch.sigmoid(z_i + z_h)
        candidate = torch.tanh(n_i + torch.sigmoid(r_i + r_h) * n_h)
        hidden = (1 - update) * candidate + update * hidden
        states.append(hidden)
    g = torch.stack(states, 1)
    if scaling == "recurrence":
        g = s * g
    y = F.linear(F.gelu(g), up_weight, up_bias)
    if scaling == "after_up":
        y = s * y
    return x + y if residual is None else residual + x + y


def temporal_adapter(
    x: Tensor,
    residual: Tensor | None,
    norm_weight: Tensor,
    norm_bias: Tensor,
    scale_weight: Tensor | None,
    scale_bias: Tensor | None,
    down_weight: Tensor,
    down_bias: Tensor,
    weight_ih: Tensor,
    weight_hh: Tensor,
    bias_ih: Tensor,
    bias_hh: Tensor,
    up_weight: Tensor,
    up_bias: Tensor,
    *,
    scaling: str = "after_up",
    backend: str = "auto",
) -> Tensor:
    """x, residual (B, T, L, D) -> residual + x + TDA(x); residual None means without it.

    Every sequence, a token position of a clip, is walked over its T frames on its own, from a zero
    state.

    Args:
        x: (B, T, L, D), any strides.
        residual: the shape of `x`, or None for the form without it.
        norm_weight, norm_bias: (D,), of the LayerNorm (eps 1e-5).
        scale_weight, scale_bias: (1, D) and (1,); not used and may be None with ``scaling="none"``.
        down_weight, down_bias: (h, D) and (h,).
        weight_ih, weight_hh, bias_ih, bias_hh: (3h, h), (3h, h), (3h,), (3h,), as nn.GRU has them.
        up_weight, up_bias: (D, h) and (D,).
        scaling: where the scale s multiplies: ``none``, ``input`` of the recurrence, what comes
            out of the ``recurrence``, or ``after_up``, the up-projection (the paper's).
        backend: ``auto``, ``reference``, ``cpu``, ``triton`` or ``cuda``.

    x and the weights have one dtype. Under autocast the products are in autocast's dtype, as
    F.linear's would be, while x and the residual are added in their own; the result has the dtype
    that PyTorch promotes the terms to. The fused backends have no second derivatives.

    Raises:
        InputError: a tensor has the wrong shape, dtype or device, `scaling` is unknown, or
            `backend` can't run this.
    """
    if scaling == "none":
        scale_weight = scale_bias = None
    weights = (
        norm_weight, norm_bias, scale_weight, scale_bias, down_weight, down_bias,
        weight_ih, weight_hh, bias_ih, bias_hh, up_weight, up_bias,
    )  # fmt: skip
    _check_shapes(x, residual, weights, scaling)
    if backend != "reference":
        dtype = x.dtype
        autocast = torch.is_autocast_enabled(x.device.type) and dtype != torch.float64
        if autocast:
            dtype = torch.get_autocast_dtype(x.device.type)
        hidden, width = down_weight.shape
        chosen = backends.select(OP, backend, x.device, dtype, width, hidden, x.shape[1])
        if chosen != "reference":
            backends.refuse_forward_mode(OP, chosen, (x, residual, *weights))
            _check_kinds(x, residual, weights, autocast)
            if x.dtype not in (dtype, torch.float32):
                x = x.to(dtype)
            return temporal_adapter_operator.run(chosen, x, residual, weights, scaling, dtype)
    return temporal_adapter_reference(x, residual, *weights, scaling=scaling)


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

    With a zero initial state it walks (T, sequences, h) as `temporal_adapter` does.
    """
    hidden = weight_hh.shape[1]
    gru = nn.GRU(hidden, hidden, device=weight_hh.device, dtype=weight_hh.dtype)
    names = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")
    tensors = (weight_ih, weight_hh, bias_ih, bias_hh)
    gru.load_state_dict(dict(zip(names, tensors, strict=True)))
    return gru


_NAMES = (
    "norm_weight", "norm_bias", "scale_weight", "scale_bias", "down_weight", "down_bias",
    "weight_ih", "weight_hh", "bias_ih", "bias_hh", "up_weight", "up_bias",
)  # fmt: skip


def _check_shapes(
    x: Tensor, residual: Tensor | None, weights: tuple[Tensor | None, ...], scaling: str
) -> None:
    if scaling not in SCALINGS:
        raise InputError(f"{OP}: scaling {scaling!r} is not one of {', '.join(SCALINGS)}")
    if x.dim() != 4:
        raise InputError(f"{OP}: x has shape {tuple(x.shape)}, expected (B, T, L, D)")
    down_weight, width = weights[4], x.shape[3]
    if down_weight is None or down_weight.dim() != 2:
        raise InputError(f"{OP}: down_weight has no shape (h, D)")
    hidden = down_weight.shape[0]
    scale = ((1, width), (1,)) if scaling != "none" else (None, None)
    expected = (
        (width,), (width,), *scale, (hidden, width), (hidden,), (3 * hidden, hidden),
        (3 * hidden, hidden), (3 * hidden,), (3 * hidden,), (width, hidden), (width,),
    )  # fmt: skip
    for name, tensor, shape in zip(_NAMES, weights, expected, strict=True):
        found = None if tensor is None else tuple(tensor.shape)
        if found != shape:
            raise InputError(
                f"{OP}: {name} has shape {found}, expected {shape} "
                f"as x is {tuple(x.shape)}, h is {hidden} and scaling is {scaling!r}"
            )
    if residual is not None and residual.shape != x.shape:
        raise InputError(
            f"{OP}: residual has shape {tuple(residual.shape)}, expected x's {tuple(x.shape)}"
        )


def _check_kinds(
    x: Tensor, residual: Tensor | None, weights: tuple[Tensor | None, ...], autocast: bool
) -> None:
    for name, tensor in zip((*_NAMES, "residual"), (*weights, residual), strict=True):
        if tensor is None:
            continue
        if tensor.device != x.device:
            raise InputError(f"{OP}: {name} is on {tensor.device}, x on {x.device}")
        if tensor.dtype not in backends.FLOATS:
            raise InputError(f"{OP}: {name} is {tensor.dtype}, expected float32, bfloat16, float16")
        if name != "residual" and not autocast and tensor.dtype != x.dtype:
            raise InputError(f"{OP}: {name} is {tensor.dtype}, expected x's {x.dtype}")
