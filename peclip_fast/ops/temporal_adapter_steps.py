"""The steps of the temporal adapter that the compiled kernels of ``peclip_fast._C`` take.

Enter and leave are the passes over the D-wide tensors before and after the recurrence, the core is
the walk over the frames; see csrc/temporal_adapter.h and ops/temporal_adapter_native.py.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

EPSILON = 1e-5
# Of enum Type and enum Scaling in csrc/.
_TYPES = {torch.float32: 0, torch.bfloat16: 1, torch.float16: 2}
_SCALINGS = {"none": 0, "input": 0, "recurrence": 1, "after_up": 2}


def _address(tensor: Tensor | None) -> int:
    return 0 if tensor is None else tensor.data_ptr()


def _strides(tensor: Tensor | None) -> tuple[int, ...]:
    return (0, 0, 0) if tensor is None else tensor.stride()[:3]


def _float(tensor: Tensor | None) -> Tensor | None:
    return None if tensor is None else tensor.float().contiguous()


def out_dtype(x: Tensor, residual: Tensor | None, dtype: torch.dtype) -> torch.dtype:
    """What PyTorch promotes the three terms of the sum to."""
    promoted = torch.promote_types(x.dtype, dtype)
    return promoted if residual is None else torch.promote_types(promoted, residual.dtype)


def unit_stride(x: Tensor) -> Tensor:
    """The kernels take any strides but the last dimension's."""
    return x if x.stride(-1) == 1 else x.contiguous()


class TorchNorm:
    """Enter and leave in PyTorch, for devices whose kernels have the core alone."""

    @staticmethod
    def enter(
        x: Tensor, residual: Tensor | None, norm_weight: Tensor, norm_bias: Tensor,
        scale_weight: Tensor | None, scale_bias: Tensor | None, up_bias: Tensor | None,
        scaled: bool, dtype: torch.dtype,
    ) -> tuple[Tensor, Tensor | None, Tensor, Tensor, Tensor | None]:  # fmt: skip
        """Give z (in `dtype`), s, mean, rstd (float32) and base, None without `up_bias`."""
        norm = [p.to(x.dtype) for p in (norm_weight, norm_bias)]
        z, mean, rstd = torch.native_layer_norm(x, (x.shape[-1],), norm[0], norm[1], EPSILON)
        z = z.to(dtype)
        s = None
        if scale_weight is not None and scale_bias is not None:
            s = F.relu(F.linear(z, scale_weight.to(dtype), scale_bias.to(dtype)))[..., 0].float()
        base = None
        if up_bias is not None:
            out = out_dtype(x, residual, dtype)
            base = x.to(out) if residual is None else residual + x
            bias = up_bias.to(out)
            if scaled:
                assert s is not None
                base = torch.addcmul(base, s[..., None].to(out), bias)
            else:
                base = base + bias
        return z, s, mean.float(), rstd.float(), base

    @staticmethod
    def leave(
        dz: Tensor, ds: Tensor | None, grad: Tensor, x: Tensor, mean: Tensor, rstd: Tensor,
        s: Tensor, norm_weight: Tensor, norm_bias: Tensor, scale_weight: Tensor | None,
        scaled: bool,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
        """Give the gradients of x, norm_weight, norm_bias, up_bias. dz is overwritten."""
        if ds is not None and scale_weight is not None:
            dz = torch.addcmul(dz, ds[..., None].to(dz.dtype), scale_weight[0].to(dz.dtype))
        dx, dweight, dbias = torch.ops.aten.native_layer_norm_backward(
            dz.to(x.dtype), x, (x.shape[-1],), mean, rstd, norm_weight.to(x.dtype),
            norm_bias.to(x.dtype), [True, True, True],
        )  # fmt: skip
        rows = grad.flatten(0, 2)
        dup_bias = s.flatten().to(grad.dtype) @ rows if scaled else rows.sum(0)
        return (dx + grad).to(x.dtype), dweight, dbias, dup_bias


class CpuNorm:
    """Enter and leave in C++: one pass over x each. Same arguments as TorchNorm."""

    @staticmethod
    def enter(
        x: Tensor, residual: Tensor | None, norm_weight: Tensor, norm_bias: Tensor,
        scale_weight: Tensor | None, scale_bias: Tensor | None, up_bias: Tensor | None,
        scaled: bool, dtype: torch.dtype,
    ) -> tuple[Tensor, Tensor | None, Tensor, Tensor, Tensor | None]:  # fmt: skip
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
            tuple(x.shape), (_TYPES[x.dtype], _TYPES[dtype], _TYPES[out]), _address(x), _strides(x),
            _address(residual), _strides(residual), *map(_address, weights), scaled, EPSILON,
            _address(z), _address(base), _address(mean), _address(rstd), _address(s),
            torch.get_num_threads(),
        )  # fmt: skip
        return z, s, mean, rstd, base

    @staticmethod
    def leave(
        dz: Tensor, ds: Tensor | None, grad: Tensor, x: Tensor, mean: Tensor, rstd: Tensor,
        s: Tensor, norm_weight: Tensor, norm_bias: Tensor, scale_weight: Tensor | None,
        scaled: bool,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
        from peclip_fast import _C

        dx = dz if dz.dtype == x.dtype else x.new_empty(x.shape)
        sums = x.new_empty((3, x.shape[-1]), dtype=torch.float32)
        weights = [_float(p) for p in (norm_weight, norm_bias, scale_weight)]
        types = (_TYPES[x.dtype], _TYPES[dz.dtype], _TYPES[grad.dtype])
        _C.temporal_adapter_cpu_leave(
            tuple(x.shape), types, _address(x), _strides(x), *map(_address, weights),
            _address(mean), _address(rstd), _address(dz), _address(grad), scaled, _address(s),
            _address(ds), _address(dx), _address(sums), torch.get_num_threads(),
        )  # fmt: skip
        return dx, sums[0], sums[1], sums[2]


class CpuCore:
    """The recurrence over T in C++."""

    @staticmethod
    def forward(
        gates: Tensor, weight: Tensor, bias: Tensor, s: Tensor | None, scaling: str
    ) -> tuple[Tensor, Tensor]:
        """Gates (B, T, L, 3h), W_hh, b_hh and s (B, T, L) -> states g and a, (B, T, L, h)."""
        from peclip_fast import _C

        shape = (*gates.shape[:3], weight.shape[1])
        states, activated = gates.new_empty(shape), gates.new_empty(shape)
        weight, bias = weight.float().contiguous(), bias.float().contiguous()
        _C.temporal_adapter_cpu_forward(
            shape, _TYPES[gates.dtype], _SCALINGS[scaling], _address(gates), _address(weight),
            _address(bias), _address(s), _address(states), _address(activated),
            torch.get_num_threads(),
        )  # fmt: skip
        return states, activated

    @staticmethod
    def backward(
        grad: Tensor, gates: Tensor, previous: Tensor, recurrent: Tensor, states: Tensor,
        weight: Tensor, bias: Tensor, s: Tensor | None, scaling: str,
    ) -> tuple[Tensor, Tensor, Tensor | None]:  # fmt: skip
        """Give a again, the gates' gradients (B, T, L, 4h) as hidden n, r, z, input n, and ds."""
        from peclip_fast import _C

        activated = torch.empty_like(states)
        dgates = states.new_empty((*states.shape[:3], 4 * states.shape[3]))
        ds = None if s is None or _SCALINGS[scaling] == 0 else torch.empty_like(s)
        weight, bias = weight.float().contiguous(), bias.float().contiguous()
        _C.temporal_adapter_cpu_backward(
            tuple(states.shape), _TYPES[gates.dtype], _SCALINGS[scaling], _address(gates),
            _address(weight), _address(bias), _address(s), _address(states), _address(activated),
            _address(previous), _address(recurrent), _address(grad), _address(dgates),
            _address(ds), torch.get_num_threads(),
        )  # fmt: skip
        return activated, dgates, ds


class CudaCore:
    """The recurrence over T in CUDA. Same arguments as CpuCore."""

    @staticmethod
    def forward(
        gates: Tensor, weight: Tensor, bias: Tensor, s: Tensor | None, scaling: str
    ) -> tuple[Tensor, Tensor]:
        from peclip_fast import _C

        shape = (*gates.shape[:3], weight.shape[1])
        states, activated = gates.new_empty(shape), gates.new_empty(shape)
        weight, bias = weight.to(gates.dtype).mT.contiguous(), bias.float().contiguous()
        with torch.cuda.device(gates.device):
            _C.temporal_adapter_cuda_forward(
                shape, _TYPES[gates.dtype], _SCALINGS[scaling], _address(gates), _address(weight),
                _address(bias), _address(s), _address(states), _address(activated),
                gates.get_device(), torch.cuda.current_stream().cuda_stream,
            )  # fmt: skip
        return states, activated

    @staticmethod
    def backward(
        grad: Tensor, gates: Tensor, previous: Tensor, recurrent: Tensor, states: Tensor,
        weight: Tensor, bias: Tensor, s: Tensor | None, scaling: str,
    ) -> tuple[Tensor, Tensor, Tensor | None]:  # fmt: skip
        from peclip_fast import _C

        activated = torch.empty_like(states)
        dgates = states.new_empty((*states.shape[:3], 4 * states.shape[3]))
        ds = None if s is None or _SCALINGS[scaling] == 0 else torch.empty_like(s)
        weight, bias = weight.to(gates.dtype).contiguous(), bias.float().contiguous()
        with torch.cuda.device(gates.device):
            _C.temporal_adapter_cuda_backward(
                tuple(states.shape), _TYPES[gates.dtype], _SCALINGS[scaling], _address(gates),
                _address(weight), _address(bias), _address(s), _address(states),
                _address(activated), _address(previous), _address(recurrent), _address(grad),
                _address(dgates), _address(ds), gates.get_device(),
                torch.cuda.current_stream().cuda_stream,
            )  # fmt: skip
        return activated, dgates, ds


NORMS: dict[str, Any] = {"cpu": CpuNorm, "cuda": TorchNorm}
CORES: dict[str, Any] = {"cpu": CpuCore, "cuda": CudaCore}
