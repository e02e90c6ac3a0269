"""How sure a recall is, from the clips that it was counted on."""

from __future__ import annotations

import math
from collections.abc import Sequence

CONFIDENCE = 0.95


def recall_interval(found: int, clips: int) -> tuple[float, float]:
    """Jeffreys' interval of a share, of which ``found`` of ``clips`` were seen, at least one.

    It is nearly right for few clips too (Brown, Cai and DasGupta, 2001); its end is that of the
    scale where none or all were found.
    """
    from scipy import stats  # most that import this make no intervals

    tail = (1 - CONFIDENCE) / 2
    low, high = stats.beta.ppf([tail, 1 - tail], found + 0.5, clips - found + 0.5)
    return 0.0 if found == 0 else float(low), 1.0 if found == clips else float(high)


def uar_interval(found: Sequence[int], clips: Sequence[int]) -> tuple[float, float]:
    """The interval of the mean of classes' recalls, from those of the recalls.

    Their distances from the recalls are added as those of independent errors are (Zou and Donner,
    2008), so that it has a width also where all clips of a class were recognised.

    Args:
        found: clips of each class that were recognised.
        clips: of each class; those with none don't count.
    """
    pairs = [(right, n) for right, n in zip(found, clips, strict=True) if n]
    recalls = [right / n for right, n in pairs]
    ends = [recall_interval(*pair) for pair in pairs]
    down, up = (
        math.hypot(*(end[k] - recall for end, recall in zip(ends, recalls, strict=True)))
        for k in range(2)
    )
    mean = sum(recalls) / len(recalls)
    return mean - down / len(recalls), mean + up / len(recalls)
