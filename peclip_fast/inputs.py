"""The clips that a configuration names, the demo's included."""

from __future__ import annotations

from dataclasses import replace

from peclip_fast.config import RunConfig
from peclip_fast.data import DatasetSplits, open_splits
from peclip_fast.demo import prepare_demo
from peclip_fast.engine.distributed import World, gather
from peclip_fast.files import cache_folder


def open_clips(config: RunConfig, world: World) -> DatasetSplits:
    """The clips of a configuration; the demo's are rendered first, once, by the first process."""
    root = config.data.root
    if config.demo:
        root = root or cache_folder() / config.data.dataset
        if world.first:
            prepare_demo(root, "order" if config.data.dataset == "demo-order" else "expressions")
        gather(None)
    return open_splits(replace(config.data, root=root))
