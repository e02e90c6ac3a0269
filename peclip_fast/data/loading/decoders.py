"""Which decoder reads the clips."""

from __future__ import annotations

import functools
from collections.abc import Collection
from typing import Literal

import torch

from peclip_fast.errors import InputError

# The device types on which DALI passed its tests and was faster than PyAV: `auto` takes it there.
# It has never been run on a GPU, so "cuda" doesn't stand here.
VERIFIED: frozenset[str] = frozenset()
_found_good: set[str] = set()  # where a trial on this machine, with a run's clips, said so


def install(devices: Collection[str]) -> None:
    """Have ``auto`` take DALI on these types of devices, in place of what was installed."""
    _found_good.clear()
    _found_good.update(devices)


def choose_decoder(
    name: str, device: torch.device, frames_alone: bool = True
) -> Literal["pyav", "dali"]:
    """The decoder for clips of a model on this device.

    Args:
        name: ``pyav``, ``dali``, or ``auto``, which may choose.
        device: of the model.
        frames_alone: whether clips are only their frames, without noise, cues or descriptions,
            which DALI's loader doesn't give.

    Raises:
        InputError: DALI was asked for and is not there, with how to get it; or it gives less than
            the model sees.
    """
    if name == "auto":
        good = device.type in VERIFIED or device.type in _found_good
        able = frames_alone and good and dali_missing() is None
        name = "dali" if able else "pyav"
    if name == "dali":
        if not frames_alone:
            raise InputError(
                "data.decoder=dali: gives only frames; expected pyav for data.noise, data.cues or "
                "data.descriptions"
            )
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


def dali_version() -> str:
    """Of the DALI that is here."""
    import nvidia.dali

    return str(nvidia.dali.__version__)
