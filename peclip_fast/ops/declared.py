"""The backends that operators have, what each of them can run, and which one is taken.

A backend declares itself in the file of its code; `Kernel` holds the devices, dtypes and sizes that
it takes. Every operator also runs in plain PyTorch, its reference. A backend asked for by name runs
or raises; only ``auto`` chooses, from what is declared, installed and verified.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass

import torch

from peclip_fast.errors import InputError
from peclip_fast.ops.devices import interpreting
from peclip_fast.ops.dtypes import FLOATS

BACKENDS = ("auto", "reference", "cpu", "triton", "cuda", "cudnn")

# What `auto` tries on each device type, best first. `reference` runs wherever PyTorch does.
PREFERENCE = {"cpu": ("cpu", "reference"), "cuda": ("cuda", "triton", "cudnn", "reference")}


@dataclass(frozen=True)
class Kernel:
    """What one backend of one operator can run; each (least, most) is inclusive."""

    devices: tuple[str, ...]
    missing: Callable[[], str | None]
    """What this installation lacks to run it, or None. Asked once per choice."""
    verified: bool = False
    """Whether it passed the whole test grid on the hardware that it is meant for and was faster
    there than the reference. `auto` takes no others; they run when named."""
    dtypes: tuple[torch.dtype, ...] = FLOATS
    width: tuple[int, int] = (1, 2**31 - 1)
    """D; of `attention` the width of a head."""
    width_step: int = 1
    hidden: tuple[int, int] = (1, 2**31 - 1)
    hidden_step: int = 1
    frames: tuple[int, int] = (0, 2**31 - 1)
    """T; of `attention` the number of tokens."""
    capability: tuple[int, int] = (7, 5)
    refused: Callable[[torch.device, torch.dtype, int, int], str | None] = lambda *_: None
    """Why this GPU can't take a dtype, D and h, or nothing at all, where others can; or None."""


_kernels: dict[tuple[str, str], Kernel] = {}


def declare(op: str, backend: str, kernel: Kernel) -> None:
    """Say that `op` has a kernel in `backend`. Called once, where that kernel's code is."""
    _kernels[op, backend] = kernel


def operators() -> list[str]:
    """The names of the operators that have a kernel."""
    return list(dict.fromkeys(op for op, _ in _kernels))


def named_or_auto(op: str, backend: str) -> str:
    """`backend` if `op` has a kernel of that name, else ``auto``.

    For a model's option, which is of all of its operators.
    """
    known = backend in ("auto", "reference") or (op, backend) in _kernels
    return backend if known else "auto"


def why_not(
    op: str,
    backend: str,
    device: torch.device,
    dtype: torch.dtype,
    width: int,
    hidden: int,
    frames: int = 0,
) -> str | None:
    """Why `backend` can't run `op` on tensors of this device, dtype and size, or None if it can."""
    if backend == "reference":
        return None
    kernel = _kernels.get((op, backend))
    if kernel is None:
        return f"{op} has no {backend} kernel"
    if reason := kernel.missing():
        return reason
    if device.type not in kernel.devices and not (backend == "triton" and interpreting()):
        extra = ", or on cpu with TRITON_INTERPRET=1" if backend == "triton" else ""
        return f"it runs on {' or '.join(kernel.devices)} tensors{extra}, not {device.type}"
    if dtype not in kernel.dtypes:
        names = ", ".join(str(known).removeprefix("torch.") for known in kernel.dtypes)
        return f"it takes {names}, not {str(dtype).removeprefix('torch.')}"
    if reason := _size_refused(kernel, width, hidden, frames):
        return reason
    if device.type == "cuda":
        found = torch.cuda.get_device_capability(device)
        if found < kernel.capability:
            needed, has = ("{}.{}".format(*pair) for pair in (kernel.capability, found))
            return f"it needs compute capability {needed}, this GPU has {has}"
        return kernel.refused(device, dtype, width, hidden)
    return None


def _size_refused(kernel: Kernel, width: int, hidden: int, frames: int) -> str | None:
    for name, value, (least, most), step in (
        ("width D", width, kernel.width, kernel.width_step),
        ("hidden width h", hidden, kernel.hidden, kernel.hidden_step),
        ("number of frames T", frames, kernel.frames, 1),
    ):
        if not least <= value <= most:
            return f"it takes a {name} from {least} to {most}, not {value}"
        if value % step:
            return f"it takes a {name} that is a multiple of {step}, not {value}"
    return None


def why_not_auto(
    op: str,
    backend: str,
    device: torch.device,
    dtype: torch.dtype,
    width: int,
    hidden: int,
    frames: int,
) -> str | None:
    """Why ``auto`` doesn't take `backend` for this call, or None if it may."""
    if reason := why_not(op, backend, device, dtype, width, hidden, frames):
        return reason
    if backend != "reference" and not _kernels[op, backend].verified:
        where = "a CPU" if backend == "cpu" else "a real GPU"
        return f"not yet verified on {where}; it runs when asked for by name"
    return None


@functools.cache
def search(
    op: str,
    backend: str,
    device: torch.device,
    dtype: torch.dtype,
    width: int,
    hidden: int,
    frames: int,
) -> str:
    """The backend that runs this call: one of BACKENDS, but not ``auto``.

    Found once per set of arguments and remembered.

    Raises:
        InputError: `backend` is unknown, or is named and can't run this.
    """
    call = (device, dtype, width, hidden, frames)
    if backend == "auto":
        order = PREFERENCE.get(device.type, ("reference",))
        return next(name for name in order if why_not_auto(op, name, *call) is None)
    if backend not in BACKENDS:
        raise InputError(f"backend {backend!r} is not one of {', '.join(BACKENDS)}")
    if reason := why_not(op, backend, *call):
        raise InputError(f"backend {backend!r} can't run {op}: {reason}")
    return backend
