"""From ``data.dataset`` to clips."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from peclip_fast.config.data import DataConfig
from peclip_fast.data.cues.clip_names import clip_name
from peclip_fast.data.cues.descriptions import read_descriptions
from peclip_fast.data.cues.store import read_index
from peclip_fast.data.datasets import (
    afew,
    crema_d,
    dfew,
    ferv39k,
    folder,
    list_files,
    mafw,
    ravdess,
)
from peclip_fast.data.datasets.shots import draw_shots
from peclip_fast.data.records import ClipRecord, DatasetSplits
from peclip_fast.errors import InputError

READERS: dict[str, Callable[[DataConfig], DatasetSplits]] = {
    "dfew": dfew.read,
    "ferv39k": ferv39k.read,
    "mafw": mafw.read_single,
    "mafw-compound": mafw.read_compound,
    "afew": afew.read,
    "crema-d": crema_d.read,
    "ravdess": ravdess.read,
    "folder": folder.read,
    "csv": list_files.read_csv,
    "list": list_files.read_lists,
    "demo": folder.read_demo,
    "demo-order": folder.read_demo,
}

# Class names for the numbers of a dataset's lists, in the order that the field's lists use.
LIST_CLASSES: dict[str, tuple[str, ...]] = {
    "dfew": dfew.CLASSES,
    "ferv39k": ferv39k.CLASSES,
    "mafw": mafw.CLASSES,
    "afew": afew.CLASSES,
    "crema-d": crema_d.CLASSES,
    "ravdess": ravdess.CLASSES,
}


def open_splits(config: DataConfig) -> DatasetSplits:
    """The training and test clips that a configuration names.

    ``data.train_list`` and ``data.test_list`` take the place of a dataset's own splits,
    ``data.shots`` draws from the training clips of any dataset, and clips get what ``data.cues``
    and ``data.descriptions`` have for them. Annotation files and folders are read, clips are not: a
    missing or broken one shows when it is opened.

    Raises:
        InputError: a root, fold, split file, label or clip folder is missing or wrong.
    """
    if config.dataset not in READERS:
        raise InputError(f"data.dataset: unknown '{config.dataset}'; known: {', '.join(READERS)}")
    given = config.train_list is not None or config.test_list is not None
    if given and config.dataset not in ("csv", "list"):
        splits = list_files.read_lists(config, LIST_CLASSES.get(config.dataset))
    else:
        splits = READERS[config.dataset](config)
    if not splits.train and not splits.test:
        raise InputError(f"data.root: no {config.dataset} clips found in {config.root}")
    if config.shots is not None:
        splits = draw_shots(splits, config.shots, config.shots_seed)
    records = with_cues([*splits.train, *splits.test], config)
    train = len(splits.train)
    return replace(splits, train=records[:train], test=records[train:])


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
