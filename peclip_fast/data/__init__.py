"""Video and frames in: datasets, lists, sampling, decoding, augmentation, batches."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from peclip_fast.data.decoding.clip_source import open_clip_source

__all__ = ["open_clip_source"]


def __getattr__(name: str) -> Any:
    """Imported when it is asked for: a command's --help needs no decoder."""
    if name == "open_clip_source":
        return import_module("peclip_fast.data.decoding.clip_source").open_clip_source
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
