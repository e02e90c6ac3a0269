"""The compiled module ``peclip_fast._C``: loaded when a kernel of it is first needed."""

from __future__ import annotations

import functools
from importlib import import_module
from typing import Any

import torch

from peclip_fast.errors import InputError
from peclip_fast.ops.devices import gpu_missing


@functools.cache
def load() -> Any:
    """The module. Its functions take tensors as addresses: what they hold is for the caller to keep
    alive.

    Raises:
        ImportError: it is not built here, or does not load.
        InputError: PECLIP_FAST_MAX_CPU_ISA names no instruction set.
    """
    module = import_module("peclip_fast._C")
    try:
        module.cpu_instruction_set()
    except ValueError as error:
        raise InputError(str(error)) from None
    return module


@functools.cache
def missing() -> str | None:
    """Why the module can't be used, or None."""
    try:
        load()
    except ImportError as error:
        return f"the extension peclip_fast._C is not built or does not load ({error})"
    return None


@functools.cache
def bf16_missing() -> str | None:
    """Why the kernels can't multiply bfloat16 on this CPU, with AMX or AVX-512, or None."""
    return missing() or load().bf16_missing() or None


@functools.cache
def cuda_missing() -> str | None:
    """Why its CUDA kernels can't be used, or None."""
    if reason := missing():
        return reason
    if not load().cuda_architectures:  # what it was compiled for, such as (75, 90)
        return "the extension peclip_fast._C was built without CUDA"
    return gpu_missing()


@functools.cache
def cuda_problem(device: torch.device) -> str | None:
    """Why this GPU can't run its CUDA kernels, or None.

    The driver may be too old for them, or the GPU of none of the architectures that they are for.
    """
    with torch.cuda.device(device):
        problem = load().cuda_problem()
    if not problem:
        return None
    built = ", ".join(f"{number // 10}.{number % 10}" for number in load().cuda_architectures)
    return (
        f"its kernels, compiled by CUDA {load().cuda_version} for compute capability {built}, "
        f"don't run on this GPU ({problem})"
    )
