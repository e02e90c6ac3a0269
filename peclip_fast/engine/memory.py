"""The most memory that training has taken so far."""

from __future__ import annotations

import re
import resource
from pathlib import Path

import torch

_STATUS = Path("/proc/self/status")


def peak_memory() -> int:
    """Bytes: of the GPU's memory where one computes, else of this process's.

    Linux counts a process's from where its program starts; ``getrusage`` counts that of the program
    that started it, too, and stands in elsewhere.
    """
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        return torch.cuda.max_memory_allocated()
    found = re.search(r"VmHWM:\s*(\d+) kB", _STATUS.read_text()) if _STATUS.exists() else None
    peak = int(found[1]) if found else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak * 1024
