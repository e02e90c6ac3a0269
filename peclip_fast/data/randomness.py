"""Random generators as a function of a few numbers."""

from __future__ import annotations

import numpy as np
import torch


def derived_seed(*numbers: int) -> int:
    """A seed that depends on all of the numbers, each at least 0.

    torch's CPU generator looks only at the lower 32 bits of its seed, so the numbers are mixed
    into these rather than placed side by side.
    """
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint32)[0])


def derived_generator(*numbers: int) -> torch.Generator:
    """A CPU generator that depends on all of the numbers, each at least 0, and on nothing else."""
    return torch.Generator().manual_seed(derived_seed(*numbers))
