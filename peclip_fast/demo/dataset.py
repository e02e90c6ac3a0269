"""The demo as datasets: drawn into the cache folder at the first use."""

from __future__ import annotations

import fcntl
import os
from dataclasses import replace
from pathlib import Path

from peclip_fast.config.data import DataConfig
from peclip_fast.data.datasets.folder import read_folders
from peclip_fast.data.datasets.layout import require_fold
from peclip_fast.data.media import natural_key
from peclip_fast.data.names import SEVEN_EXPRESSIONS
from peclip_fast.data.records import DatasetSplits
from peclip_fast.demo.files import CUES, DESCRIPTIONS, Variant
from peclip_fast.files import cache_folder
from peclip_fast.registry import register_dataset

NOTE = "(built-in demo: rendered faces, not real data)"
LICENCE = "Apache-2.0: they are drawn by peclip-fast"


def complete(config: DataConfig) -> DataConfig:
    """With the places of the clips, and of the cues and descriptions that come with them."""
    root = config.root or cache_folder() / config.dataset
    cues, descriptions = config.cues or root / CUES, config.descriptions or root / DESCRIPTIONS
    return replace(config, root=root, cues=cues, descriptions=descriptions)


@register_dataset(
    "demo",
    title=f"demo {NOTE}",
    complete=complete,
    brings=("cues", "descriptions"),
    licence=LICENCE,
)
def read_expressions(config: DataConfig) -> DatasetSplits:
    """Seven expressions, a clip each."""
    return _read(config, "expressions")


@register_dataset(
    "demo-order",
    title=f"demo-order {NOTE}",
    complete=complete,
    brings=("cues", "descriptions"),
    licence=LICENCE,
)
def read_order(config: DataConfig) -> DatasetSplits:
    """Six classes in pairs, which differ in the order of frames only."""
    return _read(config, "order")


def _read(config: DataConfig, variant: Variant) -> DatasetSplits:
    """Class folders, with the paper's expressions first and in its order."""
    require_fold(config, 1)  # before anything is drawn
    root = complete(config).root
    assert root is not None
    _draw_once(root, variant)
    paper = {name: rank for rank, name in enumerate(SEVEN_EXPRESSIONS)}
    return read_folders(config, lambda name: (paper.get(name, len(paper)), natural_key(name)))


def _draw_once(root: Path, variant: Variant) -> None:
    """Draw the clips unless they are there; of several processes one draws and the others wait."""
    from peclip_fast.demo.render import prepare_demo  # takes libraries that --help doesn't need

    root = root.absolute()
    root.parent.mkdir(parents=True, exist_ok=True)
    folder = os.open(root.parent, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        prepare_demo(root, variant)
    finally:
        os.close(folder)
