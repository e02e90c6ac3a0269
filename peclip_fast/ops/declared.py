"""The backends that operators have, what each of them can run, and which one is taken.

A backend declares itself in the file of its code; `Kernel` holds the devices, dtypes and sizes that
it takes. Every operator also runs in plain PyTorch, its reference. A backend asked for by name runs
or raises; only ``auto`` chooses, from what is declared, installed and verified: by us on the
hardware that it is meant for, or by a check on this machine (peclip_fast.ops.verdicts).
"""

from __future__ import annotations

import functools
import math
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

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
_modules: dict[tuple[str, str], str] = {}  # where each was declared


def declare(op: str, backend: str, kernel: Kernel) -> None:
    """Say that `op` has a kernel in `backend`. Called once, where that kernel's code is.

    Other packages may declare kernels of further names: one that isn't in PREFERENCE is taken by
    ``auto`` only where a check on the machine has found it right and faster.
    """
    _kernels[op, backend] = kernel
    _modules[op, backend] = sys._getframe(1).f_globals.get("__name__", "")


def operators() -> list[str]:
    """The names of the operators that have a kernel."""
    return list(dict.fromkeys(op for op, _ in _kernels))


def kernels_of(op: str) -> dict[str, Kernel]:
    """What is declared for an operator, by backend."""
    return {backend: kernel for (name, backend), kernel in _kernels.items() if name == op}


def declared_in(op: str, backend: str) -> str:
    """The name of the module that declared a kernel."""
    return _modules.get((op, backend), "")


class Kind(NamedTuple):
    """What a call of an operator is chosen a backend by."""

    op: str
    device: str
    """Its type."""
    dtype: torch.dtype
    width: int
    hidden: int
    frames: int
    variant: str
    """What else tells calls apart, such as the temporal adapter's scaling; mostly nothing."""


class Choice(NamedTuple):
    """What was found on this machine for calls of one kind."""

    backend: str | None
    """The one to take; None leaves it to what is declared."""
    refused: Mapping[str, str]
    """Why not, by backend."""


_choices: dict[Kind, Choice] = {}
_trusting = False
_shipped: Callable[[], Mapping[Kind, Choice]] = dict


def choice_for(kind: Kind) -> Choice | None:
    """What is known of calls of one kind.

    Found on this machine, or else, for a CPU, measured by us with its instruction set: there all
    kernels are right, and calls go by the nearest size that was measured.
    """
    if kind in _choices or kind.device != "cpu":
        return _choices.get(kind)
    same = [k for k in _shipped() if (k.op, k.dtype) == (kind.op, kind.dtype)]
    away = [abs(math.log((1 + k.width) / (1 + kind.width))) for k in same]
    return _shipped()[same[away.index(min(away))]] if same else None


def ship(choices: Callable[[], Mapping[Kind, Choice]]) -> None:
    """Say who knows what we measured with this CPU's instruction set; asked when it is needed."""
    global _shipped
    _shipped = choices


def install(choices: Mapping[Kind, Choice], trust: bool = False) -> None:
    """Have ``auto`` choose by what was found on this machine, in place of what was installed.

    Before a model is built: a compiled graph keeps the backends that it was compiled with.

    Args:
        choices: by the kind of the call; for all others what is declared decides.
        trust: take kernels that nobody has verified, in the order of PREFERENCE.
    """
    global _trusting
    _choices.clear()
    _choices.update(choices)
    _trusting = trust
    search.cache_clear()


def chosen_kinds(op: str, device: str) -> list[Kind]:
    """The kinds of an operator's calls on a type of device for which choices are installed."""
    return [kind for kind in _choices if (kind.op, kind.device) == (op, device)]


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
    variant: str = "",
) -> str | None:
    """Why ``auto`` doesn't take `backend` for this call, or None if it may."""
    if reason := why_not(op, backend, device, dtype, width, hidden, frames):
        return reason
    if backend == "reference":
        return None
    found = choice_for(Kind(op, device.type, dtype, width, hidden, frames, variant))
    if found is not None and backend in found.refused:
        return found.refused[backend]
    kernel = _kernels[op, backend]
    if kernel.verified or (found is not None and found.backend == backend):
        return None
    if _trusting and device.type in kernel.devices:
        return None
    where = "a CPU" if "cuda" not in kernel.devices else "a real GPU"
    return f"not yet verified on {where}; it runs when asked for by name"


@functools.cache
def search(
    op: str,
    backend: str,
    device: torch.device,
    dtype: torch.dtype,
    width: int,
    hidden: int,
    frames: int,
    variant: str = "",
) -> str:
    """The backend that runs this call: one of BACKENDS, or another declared one, but not ``auto``.

    Found once per set of arguments and remembered.

    Raises:
        InputError: `backend` is unknown, or is named and can't run this.
    """
    call = (device, dtype, width, hidden, frames)
    if backend == "auto":
        order = PREFERENCE.get(device.type, ("reference",))
        found = choice_for(Kind(op, device.type, *call[1:], variant))
        if found is not None and found.backend is not None:
            order = (found.backend, *order)
        return next(name for name in order if why_not_auto(op, name, *call, variant) is None)
    if backend not in BACKENDS and (op, backend) not in _kernels:
        raise InputError(f"backend {backend!r} is not one of {', '.join(BACKENDS)}")
    if reason := why_not(op, backend, *call):
        raise InputError(f"backend {backend!r} can't run {op}: {reason}")
    return backend
