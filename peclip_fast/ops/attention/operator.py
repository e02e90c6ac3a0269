"""Self-attention from the product that gives queries, keys and values."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from peclip_fast.errors import InputError
from peclip_fast.ops import backends, extension
from peclip_fast.ops.declared import Kernel, declare
from peclip_fast.ops.dtypes import product_dtype
from peclip_fast.ops.implementations import run
from peclip_fast.ops.register import register

OP = "attention"


def attention_reference(qkv: Tensor, heads: int, *, causal: bool = False) -> Tensor:
    """Plain PyTorch."""
    # In parts, so that their gradients are laid side by side once.
    q, k, v = (part.unflatten(-1, (heads, -1)).transpose(1, 2) for part in qkv.chunk(3, -1))
    out = F.scaled_dot_product_attention(q, k, v, is_causal=causal)
    return out.transpose(1, 2).flatten(2)


def attention(qkv: Tensor, heads: int, *, causal: bool = False, backend: str = "auto") -> Tensor:
    """qkv (N, L, 3D) -> softmax(q k' / sqrt(d)) v of every head, side by side: (N, L, D).

    Args:
        qkv: (N, L, 3D): queries, keys and values, each with its heads of width d side by side.
        heads: their number, D / d.
        causal: whether a token sees only itself and those before it.
        backend: ``auto``, ``reference``, ``cpu``, which multiplies bfloat16 on AMX, or ``triton``.

    Under autocast it computes in autocast's dtype, as scaled_dot_product_attention does. The cpu
    and triton backends have no second derivatives.

    Raises:
        InputError: qkv has the wrong shape, or `backend` can't run this.
    """
    if qkv.dim() != 3 or heads < 1 or qkv.shape[2] == 0 or qkv.shape[2] % (3 * heads):
        raise InputError(
            f"{OP}: qkv has shape {tuple(qkv.shape)}, expected (N, L, 3D) with D a multiple of the "
            f"{heads} heads"
        )
    qkv = qkv.to(product_dtype(qkv))
    if backend != "reference":
        width = qkv.shape[2] // (3 * heads)
        chosen = backends.select(OP, backend, qkv.device, qkv.dtype, width, heads, qkv.shape[1])
        if chosen != "reference":
            save = torch.is_grad_enabled() and qkv.requires_grad
            call = {"qkv": qkv, "heads": heads, "causal": causal, "dtype": qkv.dtype, "save": save}
            out: Tensor = run(OP, chosen, call)
            return out
    return attention_reference(qkv, heads, causal=causal)


def _forward(qkv: Tensor, heads: int, causal: bool, save: bool) -> tuple[Tensor, Tensor]:
    qkv = qkv.contiguous()
    out, lse = _forward_like(qkv, heads, causal, save)
    extension.load().attention_cpu(
        _shape(qkv, heads), causal, qkv.data_ptr(), out.data_ptr(), lse.data_ptr() if save else 0,
        torch.get_num_threads(),
    )  # fmt: skip
    return out, lse


def _forward_like(qkv: Tensor, heads: int, causal: bool, save: bool) -> tuple[Tensor, Tensor]:
    """The output, and the logarithms of the softmax's sums if the backward pass needs them."""
    images, tokens, width = qkv.shape
    sums = (images, heads, tokens) if save else (0,)
    return qkv.new_empty(images, tokens, width // 3), qkv.new_empty(sums, dtype=torch.float32)


def _backward(grad: Tensor, qkv: Tensor, lse: Tensor, heads: int, causal: bool) -> Tensor:
    qkv, grad = qkv.contiguous(), grad.to(qkv.dtype).contiguous()
    dqkv = torch.empty_like(qkv)
    extension.load().attention_cpu_backward(
        _shape(qkv, heads), causal, qkv.data_ptr(), lse.data_ptr(), grad.data_ptr(),
        dqkv.data_ptr(), torch.get_num_threads(),
    )  # fmt: skip
    return dqkv


def _backward_like(grad: Tensor, qkv: Tensor, lse: Tensor, heads: int, causal: bool) -> Tensor:
    return qkv.new_empty(qkv.shape)


def _shape(qkv: Tensor, heads: int) -> tuple[int, int, int, int]:
    return qkv.shape[0], qkv.shape[1], heads, qkv.shape[2] // (3 * heads)


declare(
    OP,
    "cpu",
    Kernel(
        devices=("cpu",),
        missing=extension.bf16_missing,
        verified=True,
        dtypes=(torch.bfloat16,),
        width=(32, 128),
        width_step=32,
        frames=(1, 1024),
    ),
)
register(
    OP,
    "cpu",
    forward=_forward,
    forward_like=_forward_like,
    backward=_backward,
    backward_like=_backward_like,
    gradients=("qkv",),
    saved=("lse",),
)
