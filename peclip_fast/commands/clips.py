"""The clips that a configuration names, the demo's included."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from peclip_fast.config.data import DataConfig
from peclip_fast.config.run import RunConfig
from peclip_fast.data.records import ClipRecord, DatasetSplits
from peclip_fast.data.splits import open_splits, with_cues
from peclip_fast.demo.render import CUES, DESCRIPTIONS, prepare_demo
from peclip_fast.engine.distributed import World, gather
from peclip_fast.files import cache_folder


def clips_root(config: RunConfig) -> Path | None:
    """The folder that the clips of a configuration are in, where it names one."""
    return config.data.root or (cache_folder() / config.data.dataset if config.demo else None)


def open_clips(config: RunConfig, world: World) -> DatasetSplits:
    """The clips of a configuration; the demo's are rendered first, once, by the first process."""
    data = _data(config)
    if config.demo:
        assert data.root is not None  # _data() gave it
        if world.first:
            prepare_demo(data.root, "order" if data.dataset == "demo-order" else "expressions")
        gather(None)
    return open_splits(data)


def open_files(paths: Sequence[str], config: RunConfig, inputs: Sequence[str]) -> list[ClipRecord]:
    """Clips outside of any split, with the cues and texts that the configuration has for them.

    Args:
        paths: video files or folders of frames.
        config: of the run.
        inputs: what its model sees.
    """
    records = [ClipRecord(Path(path), label=0) for path in paths]
    return with_cues(records, _data(config)) if set(inputs) - {"frames"} else records


def _data(config: RunConfig) -> DataConfig:
    """The configuration's clips, with the places of what the demo has."""
    data, root = config.data, clips_root(config)
    if not config.demo or root is None:
        return data
    return replace(
        data,
        root=root,
        cues=data.cues or root / CUES,
        descriptions=data.descriptions or root / DESCRIPTIONS,
    )
