"""Selection: the backend that runs a call, inside of torch.compile and outside."""

from __future__ import annotations

import operator

import torch

from peclip_fast.errors import InputError
from peclip_fast.ops.declared import (
    BACKENDS,
    PREFERENCE,
    named_or_auto,
    operators,
    search,
    why_not_auto,
)
from peclip_fast.ops.devices import gpu_missing

__all__ = ["BACKENDS", "describe", "frozen", "named_or_auto", "select"]


def select(
    op: str,
    backend: str,
    device: torch.device,
    dtype: torch.dtype,
    width: int,
    hidden: int,
    frames: int = 0,
) -> str:
    """Name the backend that runs `op`: one of BACKENDS, but not ``auto``.

    `backend` is what the caller asked for, `dtype` what the operator computes in, D = `width`,
    h = `hidden`, T = `frames`.

    Raises:
        InputError: with the reason, when a backend asked for by name can't run.
    """
    if backend == "reference":
        return backend
    if torch.compiler.is_compiling():
        from peclip_fast.ops.compiling import search_constant

        # Weights given as symbolic sizes (dynamic=True) become the constants that they are.
        sizes = (operator.index(width), operator.index(hidden), operator.index(frames))
        return search_constant(op, backend, device, dtype, *sizes)
    return search(op, backend, device, dtype, width, hidden, frames)


def frozen(op: str, backend: str, chosen: str, weights: tuple[torch.Tensor, ...]) -> str:
    """`chosen`, or the reference where it is the cpu backend and a weight is being trained.

    For the operators whose cpu backend gives no gradients of the weights.

    Raises:
        InputError: `backend` names the cpu backend all the same.
    """
    if chosen != "cpu" or not torch.is_grad_enabled() or not any(w.requires_grad for w in weights):
        return chosen
    if backend == "cpu":
        raise InputError(f"{op}: the cpu backend gives no gradients of the weights")
    return "reference"


def describe(
    dtype: torch.dtype = torch.float32, width: int = 768, hidden: int = 96, frames: int = 16
) -> dict[str, dict[str, dict[str, object]]]:
    """What ``auto`` takes for each operator on cpu and on cuda, and why not the others.

    Gives ``{op: {device: {"choice": name or None, "not_taken": {backend: reason}}}}`` for tensors
    of the given dtype and sizes (PE-CLIP on ViT-B/16 by default). The choice is None, for every
    backend the same reason, on a device that isn't there.
    """
    answer: dict[str, dict[str, dict[str, object]]] = {}
    for op in operators():
        answer[op] = {}
        for device in ("cpu", "cuda"):
            absent = gpu_missing() if device == "cuda" else None
            call = (torch.device(device), dtype, width, hidden, frames)
            choice = None if absent else search(op, "auto", *call)
            not_taken = {
                name: absent
                or why_not_auto(op, name, *call)
                or (f"{choice} comes first" if name in PREFERENCE[device] else "only when named")
                for name in BACKENDS[1:]
                if name != choice
            }
            answer[op][device] = {"choice": choice, "not_taken": not_taken}
    return answer
