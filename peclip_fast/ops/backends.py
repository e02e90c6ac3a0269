"""Selection: the backend that runs a call, inside of torch.compile and outside."""

from __future__ import annotations

import operator

import torch

from peclip_fast.ops.declared import (
    BACKENDS,
    PREFERENCE,
    chosen_kinds,
    kernels_of,
    named_or_auto,
    operators,
    search,
    why_not_auto,
)
from peclip_fast.ops.devices import gpu_missing

__all__ = ["BACKENDS", "describe", "named_or_auto", "select"]


def select(
    op: str,
    backend: str,
    device: torch.device,
    dtype: torch.dtype,
    width: int,
    hidden: int,
    frames: int = 0,
    variant: str = "",
) -> str:
    """Name the backend that runs `op`: one of BACKENDS, or another declared one, but not ``auto``.

    Within torch.export ``auto`` is the reference, of which any program can be made.

    `backend` is what the caller asked for, `dtype` what the operator computes in, D = `width`,
    h = `hidden`, T = `frames`; `variant` is what else tells calls apart that kernels may run at
    different speeds, or one right and another wrong.

    Raises:
        InputError: with the reason, when a backend asked for by name can't run.
    """
    # torch.export's programs are for machines without our kernels.
    if backend == "reference" or (backend == "auto" and torch.compiler.is_exporting()):
        return "reference"
    if torch.compiler.is_compiling():
        from peclip_fast.ops.compiling import search_constant

        # Weights given as symbolic sizes (dynamic=True) become the constants that they are.
        sizes = (operator.index(width), operator.index(hidden), operator.index(frames))
        return search_constant(op, backend, device, dtype, *sizes, variant)
    return search(op, backend, device, dtype, width, hidden, frames, variant)


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
            # What was found on this machine was found for the very calls of a model.
            sizes = (dtype, width, hidden, frames, "")
            found = [kind[2:] for kind in chosen_kinds(op, device) if kind[2:4] == sizes[:2]]
            call = (torch.device(device), *min(found, default=sizes, key=lambda k: k[2] != hidden))
            choice = None if absent else search(op, "auto", *call)
            not_taken = {
                name: absent
                or why_not_auto(op, name, *call)
                or (f"{choice} comes first" if name in PREFERENCE[device] else "only when named")
                for name in dict.fromkeys((*BACKENDS[1:], *kernels_of(op)))
                if name != choice
            }
            answer[op][device] = {"choice": choice, "not_taken": not_taken}
    return answer
