"""Which backend runs an operator, and why the others don't.

Each operator module declares here the kernels it has besides its plain-PyTorch reference, with the
devices, dtypes and sizes they take. A backend asked for by name runs or raises; only ``auto``
chooses, and it chooses from what is declared, installed and verified.
"""

from __future__ import annotations

import functools
import importlib.util
import operator
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NoReturn

import torch

from peclip_fast.errors import InputError

OPERATORS = ("bottleneck_adapter", "temporal_adapter", "attention", "feed_forward", "linear")
BACKENDS = ("auto", "reference", "cpu", "triton", "cuda")

# What `auto` tries on each device type, best first. `reference` runs wherever PyTorch does.
PREFERENCE = {"cpu": ("cpu", "reference"), "cuda": ("cuda", "triton", "reference")}

# The (operator, backend) pairs that passed the whole test grid on the hardware they are meant for
# and were faster there than the reference. `auto` takes no others; they run when named.
# No GPU kernel has been on a real GPU yet, so no ("...", "triton") or ("...", "cuda") stands here.
VERIFIED: set[tuple[str, str]] = {
    ("bottleneck_adapter", "cpu"),
    ("temporal_adapter", "cpu"),
    ("attention", "cpu"),
    ("feed_forward", "cpu"),
    ("linear", "cpu"),
}

FLOATS = (torch.float32, torch.bfloat16, torch.float16)
TYPES = {dtype: number for number, dtype in enumerate(FLOATS)}  # enum Type in csrc/type.h


@dataclass(frozen=True)
class Kernel:
    """What one backend of one operator can run; each (least, most) is inclusive."""

    devices: tuple[str, ...]
    missing: Callable[[], str | None]
    """What this installation lacks to run it, or None. Asked once per choice."""
    dtypes: tuple[torch.dtype, ...] = FLOATS
    width: tuple[int, int] = (1, 2**31 - 1)
    """D; of `attention` the width of a head."""
    width_step: int = 1
    hidden: tuple[int, int] = (1, 2**31 - 1)
    hidden_step: int = 1
    frames: tuple[int, int] = (0, 2**31 - 1)
    """T; of `attention` the number of tokens."""
    capability: tuple[int, int] = (7, 5)
    too_large: Callable[[torch.device, torch.dtype, int, int], str | None] = lambda *_: None
    """Why this GPU can't take a dtype, D and h that others can, or None."""


_kernels: dict[tuple[str, str], Kernel] = {}


def declare(op: str, backend: str, kernel: Kernel) -> None:
    """Say that `op` has a kernel in `backend`. Called once, by the operator's module."""
    _kernels[op, backend] = kernel


@functools.cache
def extension_missing() -> str | None:
    """Why ``peclip_fast._C`` can't be used, or None."""
    try:
        import peclip_fast._C  # noqa: F401
    except ImportError as error:
        return f"the extension peclip_fast._C is not built or does not load ({error})"
    return None


@functools.cache
def cuda_missing() -> str | None:
    """Why the CUDA kernels of ``peclip_fast._C`` can't be used, or None."""
    if reason := extension_missing():
        return reason
    from peclip_fast import _C

    if not _C.cuda_architectures:  # what it was compiled for, such as (75, 90)
        return "the extension peclip_fast._C was built without CUDA"
    return gpu_missing()


@functools.cache
def triton_missing() -> str | None:
    """Why Triton kernels can't be used, or None. TRITON_INTERPRET=1 stands in for a GPU."""
    if importlib.util.find_spec("triton") is None:
        return "triton is not installed"
    return None if interpreting() else gpu_missing()


@functools.cache
def gpu_missing() -> str | None:
    if torch.cuda.is_available():
        return None
    return "torch sees no CUDA GPU" if torch.version.cuda else "this torch is built without CUDA"


def interpreting() -> bool:
    """Whether Triton runs its kernels in its interpreter, on CPU tensors as well."""
    return os.environ.get("TRITON_INTERPRET", "0") == "1"


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
    for name, value, (least, most) in (
        ("width D", width, kernel.width),
        ("hidden width h", hidden, kernel.hidden),
        ("number of frames T", frames, kernel.frames),
    ):
        if not least <= value <= most:
            return f"it takes a {name} from {least} to {most}, not {value}"
    for name, value, step in (
        ("width D", width, kernel.width_step),
        ("hidden width h", hidden, kernel.hidden_step),
    ):
        if value % step:
            return f"it takes a {name} that is a multiple of {step}, not {value}"
    if device.type == "cuda":
        found = torch.cuda.get_device_capability(device)
        if found < kernel.capability:
            needed, has = ("{}.{}".format(*pair) for pair in (kernel.capability, found))
            return f"it needs compute capability {needed}, this GPU has {has}"
        return kernel.too_large(device, dtype, width, hidden)
    return None


def _why_not_auto(
    op: str,
    backend: str,
    device: torch.device,
    dtype: torch.dtype,
    width: int,
    hidden: int,
    frames: int,
) -> str | None:
    if reason := why_not(op, backend, device, dtype, width, hidden, frames):
        return reason
    if backend != "reference" and (op, backend) not in VERIFIED:
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
    """`select` outside of torch.compile."""
    call = (device, dtype, width, hidden, frames)
    if backend == "auto":
        order = PREFERENCE.get(device.type, ("reference",))
        return next(name for name in order if _why_not_auto(op, name, *call) is None)
    if backend not in BACKENDS:
        raise InputError(f"backend {backend!r} is not one of {', '.join(BACKENDS)}")
    if reason := why_not(op, backend, *call):
        raise InputError(f"backend {backend!r} can't run {op}: {reason}")
    return backend


def select(
    op: str,
    backend: str,
    device: torch.device,
    dtype: torch.dtype,
    width: int,
    hidden: int,
    frames: int = 0,
) -> str:
    """Name the backend that runs `op`: ``reference``, ``cpu``, ``triton`` or ``cuda``.

    `backend` is what the caller asked for, `dtype` what the operator computes in, D = `width`,
    h = `hidden`, T = `frames`. The answer is found once per set of arguments and remembered.
    Raises InputError with the reason when a backend asked for by name can't run.
    """
    if backend == "reference":
        return backend
    if torch.compiler.is_compiling():
        from peclip_fast.ops.compiling import select_constant

        # Weights given as symbolic sizes (dynamic=True) become the constants that they are.
        sizes = (operator.index(width), operator.index(hidden), operator.index(frames))
        return select_constant(op, backend, device, dtype, *sizes)
    return search(op, backend, device, dtype, width, hidden, frames)


def product_dtype(x: torch.Tensor) -> torch.dtype:
    """What products of x are computed in: autocast's dtype where it is on, which leaves float64."""
    if torch.is_autocast_enabled(x.device.type) and x.dtype != torch.float64:
        return torch.get_autocast_dtype(x.device.type)
    return x.dtype


def promoted(first: torch.Tensor, *others: torch.Tensor | None) -> torch.dtype:
    """The dtype of a sum of these tensors."""
    dtype = first.dtype
    for t in others:
        dtype = dtype if t is None else torch.promote_types(dtype, t.dtype)
    return dtype


def frozen(op: str, backend: str, chosen: str, weights: tuple[torch.Tensor, ...]) -> str:
    """`chosen`, or the reference where it is the cpu backend and a weight is being trained.

    For the operators whose cpu backend gives no gradients of the weights. Raises InputError where
    `backend` names it.
    """
    if chosen != "cpu" or not torch.is_grad_enabled() or not any(w.requires_grad for w in weights):
        return chosen
    if backend == "cpu":
        raise InputError(f"{op}: the cpu backend gives no gradients of the weights")
    return "reference"


def refuse_forward_mode(op: str, backend: str, tensors: tuple[torch.Tensor | None, ...]) -> None:
    """Raise NotImplementedError if a tensor has a forward-mode tangent: kernels would drop it."""
    if torch.compiler.is_compiling():
        return
    unpack = torch.autograd.forward_ad.unpack_dual
    if any(t is not None and unpack(t).tangent is not None for t in tensors):
        raise NotImplementedError(
            f"{op}: the {backend} backend has no forward-mode derivatives (jvp); "
            "use backend='reference' for them"
        )


def refuse_second_derivatives(library: torch.library.Library, op: str, backend: str) -> None:
    """Make the gradient of ``{op}_{backend}_backward`` an error: it would be zero without a word.

    Called once by the module that defines that operator in `library`.
    """

    def refuse(ctx: Any, *grads: torch.Tensor) -> NoReturn:
        raise NotImplementedError(
            f"{op}: the {backend} backend has no second derivatives; "
            "use backend='reference' for them"
        )

    torch.library.register_autograd(f"{library.ns}::{op}_{backend}_backward", refuse, lib=library)


def describe(
    dtype: torch.dtype = torch.float32, width: int = 768, hidden: int = 96, frames: int = 16
) -> dict[str, dict[str, dict[str, object]]]:
    """What ``auto`` takes for each operator on cpu and on cuda, and why not the others.

    Gives ``{op: {device: {"choice": name or None, "not_taken": {backend: reason}}}}`` for tensors
    of the given dtype and sizes (PE-CLIP on ViT-B/16 by default). The choice is None, for every
    backend the same reason, on a device that isn't there.
    """
    import peclip_fast.ops  # noqa: F401  (its modules declare the kernels)

    answer: dict[str, dict[str, dict[str, object]]] = {}
    for op in OPERATORS:
        answer[op] = {}
        for device in ("cpu", "cuda"):
            absent = gpu_missing() if device == "cuda" else None
            call = (torch.device(device), dtype, width, hidden, frames)
            choice = None if absent else search(op, "auto", *call)
            not_taken = {
                name: absent
                or _why_not_auto(op, name, *call)
                or (f"{choice} comes first" if name in PREFERENCE[device] else "only when named")
                for name in BACKENDS[1:]
                if name != choice
            }
            answer[op][device] = {"choice": choice, "not_taken": not_taken}
    return answer
