"""How PyTorch's idle CPU threads wait: by sleeping soon, so that other programs get on."""

from __future__ import annotations

import os
import sys

# Of GNU's OpenMP, which PyTorch's wheels bring. By itself it spins for milliseconds after each
# operator; beside a busy process the threads that wait so take the core from those that work.
# A thousand rounds are some ten microseconds: longer than from one operator to the next.
SPIN, ROUNDS = "GOMP_SPINCOUNT", "1000"
CHOICES = (SPIN, "OMP_WAIT_POLICY")


def wait_by_sleeping() -> None:
    """Say so to the OpenMP that PyTorch will load, unless the user has chosen otherwise.

    It reads the environment once, when it is loaded: where PyTorch is there already, nothing
    changes.
    """
    if "torch" not in sys.modules and not any(name in os.environ for name in CHOICES):
        os.environ[SPIN] = ROUNDS
