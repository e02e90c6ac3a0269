"""From ``data.dataset`` to clips."""

from __future__ import annotations

import contextlib
import gc
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from peclip_fast.config.data import DataConfig
from peclip_fast.data.cues.clip_names import clip_name
from peclip_fast.data.cues.descriptions import read_descriptions
from peclip_fast.data.cues.store import read_index
from peclip_fast.data.datasets.list_files import read_lists
from peclip_fast.data.decoding.clip_index import clip_index
from peclip_fast.data.media import PassedOver, frame_names, in_words, remark
from peclip_fast.data.records import ClipRecord, DatasetSplits
from peclip_fast.data.shots import draw_shots
from peclip_fast.errors import InputError
from peclip_fast.registry import DATASETS
from peclip_fast.text_files import shown

Place = tuple[str, float | None, float | None]


class DataWarning(UserWarning):
    """Something about the clips that one should know, and that stops nothing."""


def place(record: ClipRecord) -> Place:
    """What tells a clip from others: its file, and which part of it."""
    return str(record.path), record.start, record.end


@contextlib.contextmanager
def _collecting_later() -> Iterator[None]:
    """Without garbage collection: of the many small objects of a long list none is garbage.

    Looking for some would take as long again as reading.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


@_collecting_later()
def open_splits(config: DataConfig) -> DatasetSplits:
    """The training and test clips that a configuration names.

    ``data.train_list`` and ``data.test_list`` take the place of a dataset's own splits,
    ``data.shots`` draws from the training clips of any dataset, and clips get what ``data.cues``
    and ``data.descriptions`` have for them. Annotation files and folders are read, clips are not: a
    missing or broken one shows when it is opened. DataWarning says what was passed over, and which
    clips come twice.

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
        found = f", got {in_words(splits.passed_over)}" if splits.passed_over else ""
        raise InputError(f"data.root: no {config.dataset} clips found in {config.root}{found}")
    for line in remarks(splits, own_lists=given):
        warnings.warn(line, DataWarning, stacklevel=2)
    if config.shots is not None:
        splits = draw_shots(splits, config.shots, config.shots_seed)
    records = with_cues([*splits.train, *splits.test], config)
    train = len(splits.train)
    return replace(splits, train=records[:train], test=records[train:])


def remarks(splits: DatasetSplits, *, own_lists: bool) -> list[str]:
    """What a user should know of the clips that were found, a line each.

    Args:
        splits: the clips.
        own_lists: whether the lists are the user's own, and not those that were published.

    Raises:
        InputError: a clip of the user's lists has two labels in one split.
    """
    found = list(splits.remarks)
    if splits.passed_over:
        found.append(remark(splits.passed_over))
    labels: list[dict[Place, ClipRecord]] = []
    for name, records in (("training", splits.train), ("test", splits.test)):
        first: dict[Place, ClipRecord] = {}
        again = [r for r in records if first.setdefault(place(r), r) is not r]
        other = [r for r in again if first[place(r)].label != r.label]
        for record in other[:1]:
            former = first[place(record)]
            one, two = (shown(splits.classes[r.label]) for r in (former, record))
            said = f"{record.source}: {record.path} is {two}, but {one} in {former.source}"
            if own_lists:
                raise InputError(f"{said}; expected one label for each clip")
            found.append(f"{len(other)} {name} clips come with two labels ({said})")
        if again and not other:
            found.append(
                f"{len(again)} {name} clips come twice ({again[0].path} in {again[0].source})"
            )
        labels.append(first)
    both = [r for key, r in labels[1].items() if key in labels[0]]
    if both:
        found.append(f"{len(both)} test clips are training clips, too ({both[0].path})")
    return found + _in_frame_folders(splits)


def _in_frame_folders(splits: DatasetSplits) -> list[str]:
    """What the first frame folder holds beside frames; the others are not looked into for this."""
    for record in (*splits.train[:1], *splits.test[:1]):
        passed: list[PassedOver] = []
        with contextlib.suppress(InputError):  # which the clip gives when it is read
            frame_names(record.path, passed)
        if passed:
            return [
                f"{record.path}: {remark(passed)}; `peclip-fast data check` says so of each clip"
            ]
    return []


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
    passed: list[PassedOver] = []
    for record in records:
        if record.path.is_dir():
            with contextlib.suppress(InputError):  # which the clip gives when it is read
                frame_names(record.path, passed)
    if passed:
        warnings.warn(remark(passed), DataWarning, stacklevel=2)
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
