"""Memory that a step on the CPU gives back is there for the next one."""

from __future__ import annotations

import contextlib
import ctypes
import os
from collections.abc import Iterator

import torch

# mallopt(3): what of the end of the heap goes back, and how many blocks are mapped by themselves.
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _MMAP_MAX = -1, -3, -4
_NEVER, _NONE = -1, 0
# Where glibc's own thresholds end, which follow what is freed until one of them is set.
_USUAL = ((_TRIM_THRESHOLD, 64 * 2**20), (_MMAP_THRESHOLD, 32 * 2**20), (_MMAP_MAX, 65536))
CHOICES = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "MALLOC_MMAP_MAX_")


@contextlib.contextmanager
def kept_memory(device: torch.device) -> Iterator[None]:
    """For the time of the block, malloc keeps what is freed, where steps run on the CPU.

    By itself glibc gives blocks of more than 32 MiB back at once, and each step has the system map
    and clear gigabytes anew, a page of 4 KiB at a time. It applies to the whole process. Where the
    environment says how malloc is to do it, or the C library isn't glibc, nothing changes.
    """
    mallopt = None if device.type != "cpu" or _chosen() else _mallopt()
    if mallopt is None:
        yield
        return
    try:
        mallopt(_TRIM_THRESHOLD, _NEVER)
        mallopt(_MMAP_MAX, _NONE)
        yield
    finally:
        for parameter, value in _USUAL:
            mallopt(parameter, value)
        ctypes.CDLL(None).malloc_trim(0)


def _chosen() -> bool:
    tuned = "glibc.malloc" in os.environ.get("GLIBC_TUNABLES", "")
    return tuned or any(name in os.environ for name in CHOICES)


def _mallopt() -> ctypes._NamedFuncPointer | None:
    library = ctypes.CDLL(None)
    # Other C libraries have other numbers for it, or do nothing.
    return library.mallopt if hasattr(library, "gnu_get_libc_version") else None
