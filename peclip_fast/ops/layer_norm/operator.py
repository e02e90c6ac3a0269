"""LayerNorm of a residual stream as an operator: checks, and the backend that runs it."""

from __future__ import annotations

import torch
from torch import Tensor

from peclip_fast.errors import InputError
from peclip_fast.ops import backends
from peclip_fast.ops.dtypes import FLOATS, promoted
from peclip_fast.ops.implementations import run, with_gradients
from peclip_fast.ops.layer_norm.reference import OP, layer_norm_reference


def layer_norm(
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    residual: Tensor | None = None,
    *,
    learned: Tensor | None = None,
    start: int = 0,
    eps: float = 1e-5,
    backend: str = "auto",
) -> tuple[Tensor, Tensor]:
    """x (..., D) -> s = x + residual, with learned tokens put in, and LayerNorm(s), both (..., D).

    Who goes on with s instead of x + residual has it added once, and gets the gradients of both
    results in one pass. Without a residual and learned tokens s is x.

    Args:
        x: (..., D), any leading shape and any strides.
        weight, bias: (D,).
        residual: the shape of ``x``; None adds nothing.
        learned: (P, D), or (N, P, D) for each of x's (N, L, D); they take the place of the P tokens
            from ``start`` on, which get no gradient.
        start: of ``learned``, from 0 to L - P.
        eps: added to the variance.
        backend: ``auto``, ``reference`` or ``triton``.

    s has the dtype of x + residual, and so has its LayerNorm, which under autocast has autocast's,
    as it goes into products. It is computed in float32 at the least. The triton backend has no
    second derivatives.

    Raises:
        InputError: a tensor has the wrong shape, dtype or device, or `backend` can't run this.
    """
    _check_shapes(x, weight, bias, residual, learned, start)
    if backend != "reference":
        dtype = promoted(x, residual)
        chosen = backends.select(OP, backend, x.device, dtype, x.shape[-1], 1)
        tensors = {
            "x": x, "weight": weight, "bias": bias, "residual": residual, "learned": learned
        }  # fmt: skip
        chosen = with_gradients(OP, backend, chosen, tensors)
        if chosen != "reference":
            _check_kinds(x, tensors)
            kind, given = x.device.type, [t for t in tensors.values() if t is not None]
            to = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else dtype
            save = torch.is_grad_enabled() and any(t.requires_grad for t in given)
            options = {"start": start, "eps": eps, "dtype": to, "save": save}
            stream, normed = run(OP, chosen, {**tensors, **options}, results=2)
            return stream, normed
    return layer_norm_reference(x, weight, bias, residual, learned, start, eps)


def _check_shapes(
    x: Tensor, weight: Tensor, bias: Tensor, residual: Tensor | None, learned: Tensor | None,
    start: int,
) -> None:  # fmt: skip
    if x.dim() == 0 or x.shape[-1] == 0:
        raise InputError(f"{OP}: x has shape {tuple(x.shape)}, expected (..., D)")
    expected = {"weight": (weight, x.shape[-1:]), "bias": (bias, x.shape[-1:])}
    if residual is not None:
        expected["residual"] = (residual, x.shape)
    for name, (tensor, shape) in expected.items():
        if tensor.shape != shape:
            raise InputError(
                f"{OP}: {name} has shape {tuple(tensor.shape)}, expected {tuple(shape)} "
                f"as x is {tuple(x.shape)}"
            )
    if learned is None:
        return
    fits = learned.dim() in (2, 3) and learned.shape[-1] == x.shape[-1] and x.dim() == 3
    if not fits or (learned.dim() == 3 and learned.shape[0] != x.shape[0]):
        raise InputError(
            f"{OP}: learned has shape {tuple(learned.shape)} and x {tuple(x.shape)}, expected "
            "(P, D) or (N, P, D), and (N, L, D)"
        )
    if not 0 <= start <= x.shape[1] - learned.shape[-2]:
        raise InputError(
            f"{OP}: start={start}, expected from 0 to {x.shape[1] - learned.shape[-2]} as learned "
            f"is {tuple(learned.shape)} and x {tuple(x.shape)}"
        )


def _check_kinds(x: Tensor, tensors: dict[str, Tensor | None]) -> None:
    for name, tensor in tensors.items():
        if tensor is None:
            continue
        if tensor.device != x.device:
            raise InputError(f"{OP}: {name} is on {tensor.device}, x on {x.device}")
        if tensor.dtype not in FLOATS:
            raise InputError(f"{OP}: {name} is {tensor.dtype}, expected float32, bfloat16, float16")
