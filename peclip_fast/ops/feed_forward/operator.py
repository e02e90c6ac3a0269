"""The MLP of a frozen block: two products and what stands between them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from peclip_fast.errors import InputError
from peclip_fast.ops import backends, extension
from peclip_fast.ops.declared import Kernel, declare
from peclip_fast.ops.dtypes import TYPES, product_dtype
from peclip_fast.ops.feed_forward.fused import ACTIVATIONS, fused_backward, fused_forward
from peclip_fast.ops.implementations import run, with_gradients
from peclip_fast.ops.products import FEW_ROWS, computed_in, laid_out, product, takes
from peclip_fast.ops.register import register

OP = "feed_forward"
_WEIGHTS = ("in_weight", "in_bias", "out_weight", "out_bias")
# Numbers of a part of the hidden tensor: it is still in the cache when it is read, and none of its
# memory has to be asked for anew. Products of fewer rows keep fewer cores busy.
_PART = 2**23


def feed_forward_reference(
    x: Tensor, in_weight: Tensor, in_bias: Tensor, out_weight: Tensor, out_bias: Tensor,
    activation: str = "quick_gelu",
) -> Tensor:  # fmt: skip
    """Plain PyTorch."""
    hidden = F.linear(x, in_weight, in_bias)
    quick = activation == "quick_gelu"
    hidden = hidden * torch.sigmoid(1.702 * hidden) if quick else F.gelu(hidden)
    return F.linear(hidden, out_weight, out_bias)


def feed_forward(
    x: Tensor, in_weight: Tensor, in_bias: Tensor, out_weight: Tensor, out_bias: Tensor,
    activation: str = "quick_gelu", *, backend: str = "auto",
) -> Tensor:  # fmt: skip
    """x (..., D) -> W_out act(W_in x + b_in) + b_out, (..., D).

    Args:
        x: (..., D), any leading shape.
        in_weight, in_bias: (H, D) and (H,), the layout of nn.Linear.
        out_weight, out_bias: (D, H) and (D,).
        activation: ``quick_gelu`` (CLIP's, x sigmoid(1.702 x)) or ``gelu``.
        backend: ``auto``, ``reference``, ``cpu`` or ``triton``. The cpu backend gives no gradients
            of the weights; where one is asked for, ``auto`` takes the reference.

    Under autocast it computes in autocast's dtype, as F.linear would.

    Raises:
        InputError: a tensor has the wrong shape, `activation` is unknown, or `backend` can't run
            this.
    """
    weights = in_weight, in_bias, out_weight, out_bias
    _check(x, weights, activation)
    if backend != "reference":
        dtype = product_dtype(x)
        hidden, width = in_weight.shape
        chosen = backends.select(OP, backend, x.device, dtype, width, hidden)
        tensors = {"x": x, **dict(zip(_WEIGHTS, weights, strict=True))}
        chosen = with_gradients(OP, backend, chosen, tensors)
        if chosen != "reference":
            save = torch.is_grad_enabled() and any(t.requires_grad for t in tensors.values())
            options = {"activation": activation, "dtype": dtype, "save": save}
            out: Tensor = run(OP, chosen, {**tensors, "x": x.to(dtype), **options})
            return out
    return feed_forward_reference(x, *weights, activation)


def _check(x: Tensor, weights: tuple[Tensor, ...], activation: str) -> None:
    if activation not in ACTIVATIONS:
        raise InputError(f"{OP}: activation {activation!r} is not one of {', '.join(ACTIVATIONS)}")
    width, hidden = x.shape[-1] if x.dim() else 0, weights[0].shape[0]
    shapes = ((hidden, width), (hidden,), (width, hidden), (width,))
    for name, tensor, shape in zip(_WEIGHTS, weights, shapes, strict=True):
        if tensor.shape != shape:
            raise InputError(
                f"{OP}: {name} has shape {tuple(tensor.shape)}, expected {shape} "
                f"as x is {tuple(x.shape)}"
            )


def _forward(
    x: Tensor, in_weight: Tensor, in_bias: Tensor, out_weight: Tensor, out_bias: Tensor,
    activation: str, save: bool,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    width = in_weight.shape[0]
    rows = x.reshape(-1, x.shape[-1]).contiguous()
    if takes(rows, in_weight, out_weight):
        weights = in_weight, in_bias, out_weight, out_bias
        out, kept = fused_forward(rows, *weights, activation, save=save)
        return out.view(x.shape), kept.view(-1, width)
    bias = in_bias.float().contiguous()
    # Contiguous, whatever x is: empty_like would take over its strides.
    out, kept = rows.new_empty(rows.shape), rows.new_empty(0, width)
    wide = computed_in(x.dtype)
    in_weight, out_weight = (laid_out(w.to(wide), len(rows)) for w in (in_weight, out_weight))
    # What is kept is the first product itself: of all rows, where that is the same as in parts.
    itself = save and wide == x.dtype
    whole = itself and in_weight.is_mkldnn
    if save:
        kept = product(rows, in_weight) if whole else rows.new_empty(len(rows), width)
    for part in _parts(len(rows), width):
        if itself and not whole:
            product(rows[part], in_weight, out=kept[part])
        hidden = kept[part] if itself else product(rows[part].to(wide), in_weight)
        if save and not itself:
            kept[part] = hidden
        activated = torch.empty_like(hidden) if itself else hidden
        activate(activation, hidden, bias, activated)
        _multiply(activated, out_weight, out_bias, out=out[part])
    return out.view(x.shape), kept


def _backward(
    grad: Tensor, hidden: Tensor, in_weight: Tensor, in_bias: Tensor, out_weight: Tensor,
    activation: str,
) -> Tensor:  # fmt: skip
    rows = grad.reshape(-1, grad.shape[-1]).to(hidden.dtype).contiguous()
    if takes(rows, in_weight, out_weight):
        dx, *_ = fused_backward(rows, hidden, in_weight, in_bias, out_weight, activation)
        return dx.view(grad.shape)
    bias, dx = in_bias.float().contiguous(), rows.new_empty(rows.shape)
    wide = computed_in(hidden.dtype)
    in_weight, out_weight = (
        laid_out(w.to(wide), len(rows), by_rows=True) for w in (in_weight, out_weight)
    )
    for part in _parts(len(rows), hidden.shape[1]):
        slope = product(rows[part].to(wide), out_weight, by_rows=True)
        activate(activation, hidden[part].to(wide), bias, slope, slope)
        _multiply(slope, in_weight, None, out=dx[part], by_rows=True)
    return dx.view(grad.shape)


def _multiply(
    x: Tensor, weight: Tensor, bias: Tensor | None, *, out: Tensor, by_rows: bool = False
) -> None:
    """product(), into numbers of x's dtype or of another one."""
    same = out.dtype == x.dtype
    y = product(x, weight, bias, by_rows=by_rows, out=out if same else None)
    if not same:
        out.copy_(y)


def _parts(rows: int, hidden: int) -> Iterator[slice]:
    number = max(1, min(-(-rows * hidden // _PART), rows // FEW_ROWS))
    for part in range(number):
        yield slice(rows * part // number, rows * (part + 1) // number)


def activate(
    activation: str, hidden: Tensor, bias: Tensor, out: Tensor, grad: Tensor | None = None
) -> None:
    """out = act(hidden + bias), or its gradient; `out` may be `hidden` or `grad`."""
    kind = (*hidden.shape, TYPES[hidden.dtype], ACTIVATIONS[activation])
    threads = torch.get_num_threads()
    operands = hidden.data_ptr(), bias.data_ptr()
    if grad is None:
        extension.load().feed_forward_cpu_activate(*kind, *operands, out.data_ptr(), threads)
    else:
        extension.load().feed_forward_cpu_activate_backward(
            *kind, *operands, grad.data_ptr(), out.data_ptr(), threads
        )


def _forward_like(
    x: Tensor, in_weight: Tensor, in_bias: Tensor, out_weight: Tensor, out_bias: Tensor,
    activation: str, save: bool,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    rows = x.numel() // x.shape[-1] if save else 0
    return x.new_empty(x.shape), x.new_empty(rows, in_weight.shape[0])


def _backward_like(grad: Tensor, hidden: Tensor, *_: Any) -> Tensor:
    return hidden.new_empty(grad.shape)


declare(OP, "cpu", Kernel(("cpu",), extension.missing, verified=True))
register(
    OP,
    "cpu",
    forward=_forward,
    forward_like=_forward_like,
    backward=_backward,
    backward_like=_backward_like,
    gradients=("x",),
    saved=("hidden",),
)
