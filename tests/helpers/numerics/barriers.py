"""The barriers in CUDA sources, and what has to come of taking one out."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple


class Barrier(NamedTuple):
    """One in the sources."""

    file: str
    line: int
    whole_block: bool
    """Whether it is a __syncthreads; a __syncwarp waits for the lanes of a warp."""

    def __str__(self) -> str:  # as PECLIP_SHIM_WITHOUT takes it
        return f"{self.file}:{self.line}"


def barriers(sources: Iterable[Path]) -> list[Barrier]:
    """All that there are."""
    return [
        Barrier(path.name, number, found[1] == "threads")
        for path in sorted(sources)
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if (found := re.search(r"__sync(threads|warp)\(", line.partition("//")[0]))
    ]


def check_without(barrier: Barrier, same: Callable[[], bool]) -> None:
    """With the barrier taken out, `same` has to be refused as a race.

    A __syncwarp may also be there only so that lanes that went different ways meet again, as the
    instructions of a whole warp want it. Then nothing changes without it: `same` says so.
    """
    try:
        unchanged = same()
    except RuntimeError as error:
        if "no barrier between them" in str(error):
            return
        raise
    assert not barrier.whole_block, f"{barrier} can be taken out"
    assert unchanged, f"without {barrier} results change, but no race was found"
