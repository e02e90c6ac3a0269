"""What is counted of a step."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field


@dataclass
class Counts:
    """Of one step."""

    launches: int = 0
    bytes_outside: int = 0
    """Read and written outside of products and attention."""
    waits: list[str] = field(default_factory=list)
    """What the CPU waits for the GPU for, by name."""
    pageable: list[str] = field(default_factory=list)
    """Copies from the CPU that block, or of memory that isn't pinned: it waits for these too."""
    pinned: int = 0
    """Copies that it doesn't wait for."""
    wide_copies: int = 0
    """Copies, casts and concatenations of a tensor with D numbers for each token of the batch."""
    by_name: Counter[str] = field(default_factory=Counter)
    """Bytes outside by the name of the operation."""
