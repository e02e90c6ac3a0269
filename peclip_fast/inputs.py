"""The clips that a configuration names, the demo's included."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from peclip_fast.config import RunConfig
from peclip_fast.data import DatasetSplits, open_splits
from peclip_fast.demo import prepare_demo
from peclip_fast.engine.distributed import World, gather


def open_clips(config: RunConfig, world: World) -> DatasetSplits:
    """The clips of a configuration; the demo's are rendered first, once, by the first process."""
    root = config.data.root
    if config.demo:
        root = root or cache_folder() / config.data.dataset
        if world.first:
            prepare_demo(root, "order" if config.data.dataset == "demo-order" else "expressions")
        gather(None)
    return open_splits(replace(config.data, root=root))


def cache_folder() -> Path:
    """Where the demo's clips are kept: $XDG_CACHE_HOME/peclip_fast, or ~/.cache/peclip_fast."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "peclip_fast"
