"""Which decoder reads the clips."""

from __future__ import annotations

import functools
from typing import Literal

import torch

from peclip_fast.errors import InputError

# The device types on which DALI passed its tests and was faster than PyAV: `auto` takes it there.
# It has never been run on a GPU, so "cuda" doesn't stand here.
VERIFIED: frozenset[str] = frozenset()


def choose_decoder(name: str, device: torch.device) -> Literal["pyav", "dali"]:
    """The decoder for clips of a model on this device.

    Args:
        name: ``pyav``, ``dali``, or ``auto``, which alone may choose.
        device: of the model.

    Raises:
        InputError: DALI was asked for and is not there; says how to get it.
    """
    if name == "auto":
        name = "dali" if device.type in VERIFIED and dali_missing() is None else "pyav"
    if name == "dali":
        if reason := dali_missing():
            raise InputError(f"data.decoder=dali: {reason}")
        return "dali"
    return "pyav"


@functools.cache
def dali_missing() -> str | None:
    """Why DALI can't be used, or None."""
    try:
        import nvidia.dali  # noqa: F401
    except ImportError as error:
        return f"NVIDIA DALI can't be used ({error}): pip install 'peclip-fast[dali]'"
    return None
