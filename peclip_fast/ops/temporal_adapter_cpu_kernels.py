"""The C++ kernels of the temporal adapter, on tensors (csrc/temporal_adapter.h).

Enter and leave are the passes over the D-wide tensors before and after the recurrence, `walk` and
`walk_backward` the recurrence; ops/temporal_adapter_cpu.py puts them together.
"""

from __future__ import annotations

import torch
from torch import Tensor

from peclip_fast.ops.backends import TYPES
from peclip_fast.ops.temporal_adapter_operator import out_dtype, unit_stride

EPSILON = 1e-5
# Of enum Scaling in csrc/.
_SCALINGS = {"none": 0, "input": 0, "recurrence": 1, "after_up": 2}


def _address(tensor: Tensor | None) -> int:
    return 0 if tensor is None else tensor.data_ptr()


def _strides(tensor: Tensor | None) -> tuple[int, ...]:
    return (0, 0, 0) if tensor is None else tensor.stride()[:3]


def _float(tensor: Tensor | None) -> Tensor | None:
    return None if tensor is None else tensor.float().contiguous()


def enter(
    x: Tensor, residual: Tensor | None, norm_weight: Tensor, norm_bias: Tensor,
    scale_weight: Tensor | None, scale_bias: Tensor | None, up_bias: Tensor | None,
    scaled: bool, dtype: torch.dtype,
) -> tuple[Tensor, Tensor | None, Tensor, Tensor, Tensor | None]:  # fmt: skip
    """Give z (in `dtype`), s, mean, rstd (float32) and base, None without `up_bias`."""
    from peclip_fast import _C

    out = out_dtype(x, residual, dtype)
    if residual is not None:
        residual = unit_stride(residual.to(out))
    rows = (*x.shape[:3], 1)
    z = x.new_empty(x.shape, dtype=dtype)
    base = None if up_bias is None else x.new_empty(x.shape, dtype=out)
    mean, rstd = (x.new_empty(rows, dtype=torch.float32) for _ in range(2))
    s = None if scale_weight is None else x.new_empty(rows[:3], dtype=torch.float32)
    weights = [_float(p) for p in (norm_weight, norm_bias, scale_weight, scale_bias, up_bias)]
    _C.temporal_adapter_cpu_enter(
        tuple(x.shape), (TYPES[x.dtype], TYPES[dtype], TYPES[out]), _address(x), _strides(x),
        _address(residual), _strides(residual), *map(_address, weights), scaled, EPSILON,
        _address(z), _address(base), _address(mean), _address(rstd), _address(s),
        torch.get_num_threads(),
    )  # fmt: skip
    return z, s, mean, rstd, base


def leave(
    dz: Tensor, ds: Tensor | None, grad: Tensor, x: Tensor, mean: Tensor, rstd: Tensor,
    s: Tensor, norm_weight: Tensor, norm_bias: Tensor, scale_weight: Tensor | None,
    scaled: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    """Give the gradients of x, norm_weight, norm_bias, up_bias. dz is overwritten."""
    from peclip_fast import _C

    dx = dz if dz.dtype == x.dtype else x.new_empty(x.shape)
    sums = x.new_empty((3, x.shape[-1]), dtype=torch.float32)
    weights = [_float(p) for p in (norm_weight, norm_bias, scale_weight)]
    types = (TYPES[x.dtype], TYPES[dz.dtype], TYPES[grad.dtype])
    _C.temporal_adapter_cpu_leave(
        tuple(x.shape), types, _address(x), _strides(x), *map(_address, weights),
        _address(mean), _address(rstd), _address(dz), _address(grad), scaled, _address(s),
        _address(ds), _address(dx), _address(sums), torch.get_num_threads(),
    )  # fmt: skip
    return dx, sums[0], sums[1], sums[2]


def walk(
    gates: Tensor, weight: Tensor, bias: Tensor, s: Tensor | None, scaling: str
) -> tuple[Tensor, Tensor]:
    """Gates (B, T, L, 3h), W_hh, b_hh and s (B, T, L) -> states g and a, (B, T, L, h)."""
    from peclip_fast import _C

    shape = (*gates.shape[:3], weight.shape[1])
    states, activated = gates.new_empty(shape), gates.new_empty(shape)
    weight, bias = weight.float().contiguous(), bias.float().contiguous()
    _C.temporal_adapter_cpu_walk(
        shape, TYPES[gates.dtype], _SCALINGS[scaling], _address(gates), _address(weight),
        _address(bias), _address(s), _address(states), _address(activated),
        torch.get_num_threads(),
    )  # fmt: skip
    return states, activated


def walk_backward(
    grad: Tensor, gates: Tensor, previous: Tensor, recurrent: Tensor, states: Tensor,
    weight: Tensor, bias: Tensor, s: Tensor | None, scaling: str,
) -> tuple[Tensor, Tensor, Tensor | None]:  # fmt: skip
    """Give a again, the gates' gradients (B, T, L, 4h) as hidden n, r, z, input n, and ds."""
    from peclip_fast import _C

    activated = torch.empty_like(states)
    dgates = states.new_empty((*states.shape[:3], 4 * states.shape[3]))
    ds = None if s is None or _SCALINGS[scaling] == 0 else torch.empty_like(s)
    weight, bias = weight.float().contiguous(), bias.float().contiguous()
    _C.temporal_adapter_cpu_walk_backward(
        tuple(states.shape), TYPES[gates.dtype], _SCALINGS[scaling], _address(gates),
        _address(weight), _address(bias), _address(s), _address(states), _address(activated),
        _address(previous), _address(recurrent), _address(grad), _address(dgates),
        _address(ds), torch.get_num_threads(),
    )  # fmt: skip
    return activated, dgates, ds
