"""Kernels of the bottleneck adapter that are wrong in all ways, and one that is right.

Those that PECLIP_STAND_INS names are declared when this is imported, as by a plugin.
"""

from __future__ import annotations

import ctypes
import functools
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from peclip_fast.ops.bottleneck_adapter.reference import OP, bottleneck_adapter_reference
from peclip_fast.ops.declared import Kernel, declare
from peclip_fast.ops.register import register

NAMES = (
    "right", "slightly", "grossly", "backward", "segfaults", "aborts", "exits", "hangs", "stops",
    "nan", "unwritten", "one_number", "sleeps", "outside", "before", "in_gradient", "input",
    "random", "raises", "late_crash", "odd_sizes", "shape", "leaves_child", "prints",
    "prints_on",
)  # fmt: skip
_calls = 0


def _plain(
    x: Tensor, down_weight: Tensor, down_bias: Tensor, up_weight: Tensor, up_bias: Tensor,
    residual: Tensor | None, skip: bool, scale: float,
) -> Tensor:  # fmt: skip
    weights = down_weight, down_bias, up_weight, up_bias
    y = bottleneck_adapter_reference(x.to(down_weight.dtype), *weights, skip=False, scale=scale)
    y = x + y if skip else y
    return y if residual is None else residual + y


def _forward(
    name: str, x: Tensor, down_weight: Tensor, down_bias: Tensor, up_weight: Tensor,
    up_bias: Tensor, residual: Tensor | None, skip: bool, scale: float,
) -> Tensor:  # fmt: skip
    global _calls
    _calls += 1
    values = _plain(x, down_weight, down_bias, up_weight, up_bias, residual, skip, scale)
    out = torch.empty_like(values, memory_format=torch.contiguous_format)
    out.copy_(values)
    fault = _FAULTS.get(name)
    if fault is not None:
        fault(out, x)
    return values.new_empty(3) if name == "shape" else out


def _into(t: Tensor, offset: int) -> None:
    """Zeros to where nothing of a tensor is."""
    ctypes.memset(t.data_ptr() + offset, 0, 16)


def _backward(
    name: str, grad: Tensor, x: Tensor, down_weight: Tensor, down_bias: Tensor, up_weight: Tensor,
    up_bias: Tensor, skip: bool, scale: float,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    dtype, rows = down_weight.dtype, x.to(down_weight.dtype).flatten(0, -2)
    dy = scale * grad.to(dtype).flatten(0, -2)
    u = F.linear(rows, down_weight, down_bias)
    du = torch.ops.aten.gelu_backward(dy @ up_weight, u)
    dx = (du @ down_weight).view(x.shape).to(x.dtype)
    results = (
        dx + grad if skip else dx, du.mT @ rows, du.sum(0), dy.mT @ F.gelu(u), dy.sum(0)
    )  # fmt: skip
    found = [torch.empty_like(t).copy_(t) for t in results]
    if name == "backward":
        found[3] *= 1.05
    if name == "in_gradient":
        _into(found[0], found[0].nbytes)
    return tuple(found)  # type: ignore[return-value]


def _leave_child(out: Tensor, x: Tensor) -> None:
    if os.fork() == 0:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        time.sleep(600)
        os._exit(0)


_FAULTS: dict[str, Callable[[Tensor, Tensor], object]] = {
    "slightly": lambda out, x: out.mul_(1.001 if out.dtype == torch.float32 else 1.02),
    "grossly": lambda out, x: out.neg_(),
    "segfaults": lambda out, x: ctypes.string_at(8),
    "aborts": lambda out, x: os.abort(),
    "exits": lambda out, x: os._exit(0),
    "hangs": lambda out, x: time.sleep(3600),
    "stops": lambda out, x: os.kill(os.getpid(), signal.SIGSTOP),
    "nan": lambda out, x: out.view(-1)[-1:].fill_(torch.nan),
    "unwritten": lambda out, x: out.copy_(torch.empty_like(out)),
    "one_number": lambda out, x: out.view(-1)[3:4].add_(0.5),
    "sleeps": lambda out, x: time.sleep(0.05),
    "outside": lambda out, x: _into(out, out.nbytes),
    "before": lambda out, x: _into(out, -16),
    "input": lambda out, x: x.view(torch.uint8)[..., :1].bitwise_xor_(1),
    "random": lambda out, x: out.view(-1)[:1].mul_(1 + 2**-7 * (_calls % 3 == 0)),
    "raises": lambda out, x: 1 // 0,
    "late_crash": lambda out, x: os.kill(os.getpid(), signal.SIGSEGV) if _calls > 40 else None,
    "odd_sizes": lambda out, x: out.zero_() if x.shape[-2] % 2 else None,
    "leaves_child": _leave_child,
    "prints_on": lambda out, x: [print("x" * 100_000) for _ in iter(int, 1)],
    "prints": lambda out, x: print("x" * 100_000),
}


def _forward_like(x: Tensor, *rest: object) -> Tensor:
    return x.new_empty(x.shape)


def _backward_like(grad: Tensor, *given: Tensor) -> tuple[Tensor, ...]:
    return tuple(t.new_empty(t.shape) for t in given[:5])


def add(name: str) -> None:
    """Declare one, as a kernel's file does."""
    forward, backward = functools.partial(_forward, name), functools.partial(_backward, name)
    functools.update_wrapper(forward, _plain)
    declare(OP, name, Kernel(("cpu",), lambda: None))
    register(
        OP,
        name,
        forward=forward,
        forward_like=_forward_like,
        backward=backward,
        backward_like=_backward_like,
        gradients=("x", "down_weight", "down_bias", "up_weight", "up_bias"),
        added=("residual",),
        schemas=(
            "(Tensor x, Tensor down_weight, Tensor down_bias, Tensor up_weight, Tensor up_bias, "
            "Tensor? residual, bool skip, float scale) -> Tensor",
            "(Tensor grad, Tensor x, Tensor down_weight, Tensor down_bias, Tensor up_weight, "
            "Tensor up_bias, bool skip, float scale) -> (Tensor, Tensor, Tensor, Tensor, Tensor)",
        ),
    )


for _name in filter(None, os.environ.get("PECLIP_STAND_INS", "").split(",")):
    add(_name)

FILE = Path(__file__)
