"""Self-attention from the product that gives queries, keys and values."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from peclip_fast.errors import InputError
from peclip_fast.ops import backends
from peclip_fast.ops.linear import amx_missing

OP = "attention"


def attention_reference(qkv: Tensor, heads: int, *, causal: bool = False) -> Tensor:
    """Plain PyTorch."""
    q, k, v = qkv.unflatten(-1, (3, heads, -1)).permute(2, 0, 3, 1, 4)
    out = F.scaled_dot_product_attention(q, k, v, is_causal=causal)
    return out.transpose(1, 2).flatten(2)


def attention(qkv: Tensor, heads: int, *, causal: bool = False, backend: str = "auto") -> Tensor:
    """qkv (N, L, 3D) -> softmax(q k' / sqrt(d)) v of every head, side by side: (N, L, D).

    Args:
        qkv: (N, L, 3D): queries, keys and values, each with its heads of width d side by side.
        heads: their number, D / d.
        causal: whether a token sees only itself and those before it.
        backend: ``auto``, ``reference`` or ``cpu``, which multiplies bfloat16 on AMX.

    Under autocast it computes in autocast's dtype, as scaled_dot_product_attention does. The cpu
    backend has no second derivatives.

    Raises:
        InputError: qkv has the wrong shape, or `backend` can't run this.
    """
    if qkv.dim() != 3 or heads < 1 or qkv.shape[2] == 0 or qkv.shape[2] % (3 * heads):
        raise InputError(
            f"{OP}: qkv has shape {tuple(qkv.shape)}, expected (N, L, 3D) with D a multiple of the "
            f"{heads} heads"
        )
    qkv = qkv.to(backends.product_dtype(qkv))
    if backend != "reference":
        width = qkv.shape[2] // (3 * heads)
        chosen = backends.select(OP, backend, qkv.device, qkv.dtype, width, heads, qkv.shape[1])
        if chosen == "cpu":
            backends.refuse_forward_mode(OP, chosen, (qkv,))
            save = torch.is_grad_enabled() and qkv.requires_grad
            return torch.ops.peclip_fast.attention_cpu(qkv, heads, causal, save)[0]
    return attention_reference(qkv, heads, causal=causal)


backends.declare(
    OP,
    "cpu",
    backends.Kernel(
        devices=("cpu",),
        missing=amx_missing,
        dtypes=(torch.bfloat16,),
        width=(32, 128),
        width_step=32,
        frames=(1, 1024),
    ),
)

_library = torch.library.Library("peclip_fast", "FRAGMENT")
_library.define(f"{OP}_cpu(Tensor qkv, SymInt heads, bool causal, bool save) -> (Tensor, Tensor)")
_library.define(
    f"{OP}_cpu_backward(Tensor grad, Tensor qkv, Tensor lse, SymInt heads, bool causal) -> Tensor"
)


def _forward(qkv: Tensor, heads: int, causal: bool, save: bool) -> tuple[Tensor, Tensor]:
    from peclip_fast import _C

    qkv = qkv.contiguous()
    out, lse = _empty(qkv, heads, save)
    _C.attention_cpu(
        _shape(qkv, heads), causal, qkv.data_ptr(), out.data_ptr(), lse.data_ptr() if save else 0,
        torch.get_num_threads(),
    )  # fmt: skip
    return out, lse


def _backward(grad: Tensor, qkv: Tensor, lse: Tensor, heads: int, causal: bool) -> Tensor:
    from peclip_fast import _C

    qkv, grad = qkv.contiguous(), grad.to(qkv.dtype).contiguous()
    dqkv = torch.empty_like(qkv)
    _C.attention_cpu_backward(
        _shape(qkv, heads), causal, qkv.data_ptr(), lse.data_ptr(), grad.data_ptr(),
        dqkv.data_ptr(), torch.get_num_threads(),
    )  # fmt: skip
    return dqkv


def _shape(qkv: Tensor, heads: int) -> tuple[int, int, int, int]:
    return qkv.shape[0], qkv.shape[1], heads, qkv.shape[2] // (3 * heads)


def _empty(qkv: Tensor, heads: int, save: bool) -> tuple[Tensor, Tensor]:
    """The output, and the logarithms of the softmax's sums if the backward pass needs them."""
    images, tokens, width = qkv.shape
    sums = (images, heads, tokens) if save else (0,)
    return qkv.new_empty(images, tokens, width // 3), qkv.new_empty(sums, dtype=torch.float32)


def _backward_fake(grad: Tensor, qkv: Tensor, lse: Tensor, heads: int, causal: bool) -> Tensor:
    return qkv.new_empty(qkv.shape)


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    qkv, ctx.heads, ctx.causal, _ = inputs
    ctx.save_for_backward(qkv, output[1])
    ctx.mark_non_differentiable(output[1])
    ctx.set_materialize_grads(False)


def _autograd(ctx: Any, grad: Tensor | None, _: None) -> tuple[Tensor | None, ...]:
    if grad is None:
        return (None,) * 4
    qkv, lse = ctx.saved_tensors
    dqkv = torch.ops.peclip_fast.attention_cpu_backward(grad, qkv, lse, ctx.heads, ctx.causal)
    return dqkv, None, None, None


_library.impl(f"{OP}_cpu", _forward, "CPU")
_library.impl(f"{OP}_cpu_backward", _backward, "CPU")
torch.library.register_fake(
    f"peclip_fast::{OP}_cpu", lambda qkv, heads, _, save: _empty(qkv, heads, save), lib=_library
)
torch.library.register_fake(f"peclip_fast::{OP}_cpu_backward", _backward_fake, lib=_library)
torch.library.register_autograd(
    f"peclip_fast::{OP}_cpu", _autograd, setup_context=_setup_context, lib=_library
)
backends.refuse_second_derivatives(_library, OP, "cpu")
