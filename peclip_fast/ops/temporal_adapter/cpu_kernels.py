"""The C++ kernels of the temporal adapter, on tensors (csrc/cpu/temporal_adapter/).

`down` and its backward pass go over the D-wide tensors, `recurrence` and its over the frames.
"""

from __future__ import annotations

import torch
from torch import Tensor

from peclip_fast.ops import extension
from peclip_fast.ops.dtypes import TYPES
from peclip_fast.ops.temporal_adapter.backend import out_dtype, unit_stride
from peclip_fast.ops.temporal_adapter.weights import EPSILON, SCALING_NUMBERS, TemporalWeights


def _address(tensor: Tensor | None) -> int:
    return 0 if tensor is None else tensor.data_ptr()


def _strides(tensor: Tensor | None) -> tuple[int, ...]:
    return (0, 0, 0) if tensor is None else tensor.stride()[:3]


def _float(tensor: Tensor | None) -> Tensor | None:
    return None if tensor is None else tensor.float().contiguous()


def down(
    x: Tensor, residual: Tensor | None, weights: TemporalWeights, scaled: bool, dtype: torch.dtype
) -> tuple[Tensor, Tensor | None, Tensor, Tensor, Tensor]:
    """Give z (in `dtype`), s, mean, rstd (float32) and base, to which the up-projection is added.

    z = LN(x), s = ReLU(w_s z + b_s), base = residual + x + b_u, or + s b_u if `scaled`.
    """
    out = out_dtype(x, residual, dtype)
    if residual is not None:
        residual = unit_stride(residual.to(out))
    base = x.new_empty(x.shape, dtype=out)
    s = None
    if weights.scale_weight is not None:
        s = x.new_empty(x.shape[:3], dtype=torch.float32)
    z, mean, rstd = _down(x, residual, weights, s, base, scaled, dtype)
    return z, s, mean, rstd, base


def normalised(x: Tensor, weights: TemporalWeights, dtype: torch.dtype) -> Tensor:
    """The z of `down` once more."""
    only_norm = weights._replace(scale_weight=None, scale_bias=None)
    return _down(x, None, only_norm, None, None, False, dtype)[0]


def _down(
    x: Tensor, residual: Tensor | None, weights: TemporalWeights, s: Tensor | None,
    base: Tensor | None, scaled: bool, dtype: torch.dtype,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    z = x.new_empty(x.shape, dtype=dtype)
    mean, rstd = (x.new_empty((*x.shape[:3], 1), dtype=torch.float32) for _ in range(2))
    out = x.dtype if base is None else base.dtype
    norm = weights.norm_weight, weights.norm_bias
    scale = weights.scale_weight, weights.scale_bias
    vectors = [_float(v) for v in (*norm, *scale, None if base is None else weights.up_bias)]
    extension.load().temporal_adapter_cpu_down(
        tuple(x.shape), (TYPES[x.dtype], TYPES[dtype], TYPES[out]), _address(x), _strides(x),
        _address(residual), _strides(residual), *map(_address, vectors), scaled, EPSILON,
        _address(z), _address(base), _address(mean), _address(rstd), _address(s),
        torch.get_num_threads(),
    )  # fmt: skip
    return z, mean, rstd


def down_backward(
    dz: Tensor, ds: Tensor | None, grad: Tensor, x: Tensor, mean: Tensor, rstd: Tensor,
    s: Tensor, weights: TemporalWeights, scaled: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    """Give the gradients of x, norm_weight, norm_bias, up_bias. dz is overwritten."""
    dx = dz if dz.dtype == x.dtype else x.new_empty(x.shape)
    sums = x.new_empty((3, x.shape[-1]), dtype=torch.float32)
    vectors = [_float(v) for v in weights[:3]]
    types = (TYPES[x.dtype], TYPES[dz.dtype], TYPES[grad.dtype])
    extension.load().temporal_adapter_cpu_down_backward(
        tuple(x.shape), types, _address(x), _strides(x), *map(_address, vectors),
        _address(mean), _address(rstd), _address(dz), _address(grad), scaled, _address(s),
        _address(ds), _address(dx), _address(sums), torch.get_num_threads(),
    )  # fmt: skip
    return dx, sums[0], sums[1], sums[2]


def recurrence(
    gates: Tensor, weight: Tensor, bias: Tensor, s: Tensor | None, scaling: str
) -> tuple[Tensor, Tensor]:
    """Gates (B, T, L, 3h), W_hh, b_hh and s (B, T, L) -> states g and a, (B, T, L, h)."""
    shape = (*gates.shape[:3], weight.shape[1])
    states, activated = gates.new_empty(shape), gates.new_empty(shape)
    weight, bias = weight.float().contiguous(), bias.float().contiguous()
    extension.load().temporal_adapter_cpu_recurrence(
        shape, TYPES[gates.dtype], SCALING_NUMBERS[scaling], _address(gates), _address(weight),
        _address(bias), _address(s), _address(states), _address(activated),
        torch.get_num_threads(),
    )  # fmt: skip
    return states, activated


def recurrence_backward(
    grad: Tensor, gates: Tensor, previous: Tensor, recurrent: Tensor, states: Tensor,
    weight: Tensor, bias: Tensor, s: Tensor | None, scaling: str,
) -> tuple[Tensor, Tensor, Tensor | None]:  # fmt: skip
    """Give a again, the gates' gradients (B, T, L, 4h) as hidden n, r, z, input n, and ds."""
    activated = torch.empty_like(states)
    dgates = states.new_empty((*states.shape[:3], 4 * states.shape[3]))
    ds = None if s is None or SCALING_NUMBERS[scaling] == 0 else torch.empty_like(s)
    weight, bias = weight.float().contiguous(), bias.float().contiguous()
    extension.load().temporal_adapter_cpu_recurrence_backward(
        tuple(states.shape), TYPES[gates.dtype], SCALING_NUMBERS[scaling], _address(gates),
        _address(weight), _address(bias), _address(s), _address(states), _address(activated),
        _address(previous), _address(recurrent), _address(grad), _address(dgates),
        _address(ds), torch.get_num_threads(),
    )  # fmt: skip
    return activated, dgates, ds
