"""The learning rate over a run."""

from __future__ import annotations

import math


def warmup_cosine(step: int, warmup_steps: int, total_steps: int) -> float:
    """Factor on every group's learning rate at optimizer step ``step``, counted from 0.

    It rises linearly to 1 over the warm-up and falls to 0 along half a cosine. The paper's recipe
    (section 4.2, Table 2) names both and their lengths in epochs; the published program moves
    once per epoch, we move at every step, so that the first steps are small ones too.
    """
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    progress = (step - warmup_steps) / max(1, total_steps - warmup_steps)
    return 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))
