"""From ``data.dataset`` to clips."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from peclip_fast.config.data import DataConfig
from peclip_fast.data.cues.clip_names import clip_name
from peclip_fast.data.cues.descriptions import read_descriptions
from peclip_fast.data.cues.store import read_index
from peclip_fast.data.datasets.list_files import read_lists
from peclip_fast.data.decoding.clip_index import clip_index
from peclip_fast.data.records import ClipRecord, DatasetSplits
from peclip_fast.data.shots import draw_shots
from peclip_fast.errors import InputError
from peclip_fast.registry import DATASETS


def open_splits(config: DataConfig) -> DatasetSplits:
    """The training and test clips that a configuration names.

    ``data.train_list`` and ``data.test_list`` take the place of a dataset's own splits,
    ``data.shots`` draws from the training clips of any dataset, and clips get what ``data.cues``
    and ``data.descriptions`` have for them. Annotation files and folders are read, clips are not: a
    missing or broken one shows when it is opened.

    Raises:
        InputError: a root, fold, split file, label or clip folder is missing or wrong.
    """
    clip_index()  # before there are other processes, to which its warnings are known then
    dataset, config = DATASETS[config.dataset], completed(config)
    given = config.train_list is not None or config.test_list is not None
    if given and not dataset.own_lists:
        splits = read_lists(config, dataset.classes)
    else:
        splits = dataset.read(config)
    if not splits.train and not splits.test:
        raise InputError(f"data.root: no {config.dataset} clips found in {config.root}")
    if config.shots is not None:
        splits = draw_shots(splits, config.shots, config.shots_seed)
    records = with_cues([*splits.train, *splits.test], config)
    train = len(splits.train)
    return replace(splits, train=records[:train], test=records[train:])


def completed(config: DataConfig) -> DataConfig:
    """The configuration with the places of what its dataset brings along."""
    complete = DATASETS[config.dataset].complete
    return config if complete is None else complete(config)


def open_files(paths: Sequence[str], config: DataConfig, inputs: Sequence[str]) -> list[ClipRecord]:
    """Clips outside of any split, with the cues and descriptions that there are of them.

    Args:
        paths: video files or folders of frames.
        config: where cues and descriptions are.
        inputs: what the model sees.
    """
    clip_index()
    records = [ClipRecord(Path(path), label=0) for path in paths]
    return with_cues(records, completed(config)) if set(inputs) - {"frames"} else records


def with_cues(records: list[ClipRecord], config: DataConfig) -> list[ClipRecord]:
    """The same clips, with what ``data.cues`` and ``data.descriptions`` have for them.

    Raises:
        InputError: a file is missing or broken, or is of other clips altogether.
    """
    cues = read_index(config.cues, records) if config.cues else {}
    texts = read_descriptions(config.descriptions, records) if config.descriptions else {}
    if not cues and not texts:
        return records
    names = map(clip_name, records)
    return [
        replace(record, cues=cues.get(name), description=texts.get(name))
        for record, name in zip(records, names, strict=True)
    ]
