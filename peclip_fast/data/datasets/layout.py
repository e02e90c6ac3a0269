"""What the dataset readers share: roots, folds, places of files, published counts."""

from __future__ import annotations

import os
import warnings
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from peclip_fast.config.data import DataConfig
from peclip_fast.data.records import ClipRecord
from peclip_fast.errors import InputError


class DatasetCountWarning(UserWarning):
    """A dataset on disk has other numbers of clips than were published."""


def require_root(config: DataConfig, holds: str) -> Path:
    """The dataset's folder, which must be given and exist."""
    if config.root is None:
        raise InputError(f"data.root: {config.dataset} needs the folder that holds {holds}")
    root = Path(config.root)
    if not root.is_dir():
        raise InputError(f"data.root: {root} is no folder; expected the one that holds {holds}")
    return root


def require_fold(config: DataConfig, folds: int) -> int:
    """The fold, which must be one of 1 to ``folds``; 1 where the dataset has no folds."""
    if folds == 1 and config.fold != 1:
        raise InputError(f"fold {config.fold}: {config.dataset} has no folds; leave data.fold at 1")
    if not 1 <= config.fold <= folds:
        raise InputError(f"fold {config.fold}: {config.dataset} has folds 1 to {folds}")
    return config.fold


def first_existing(root: Path, candidates: Iterable[str], what: str) -> Path:
    """The first of several spellings that exists under root; ``""`` is root itself.

    Capitals don't matter where no name has the very spelling, as disks differ in that.

    Raises:
        InputError: there is none, or two that differ in capitals only.
    """
    names = list(candidates)
    for name in names:
        if os.path.exists(root / name):
            return root / name
    for name in names:
        found = [root]
        for part in Path(name).parts:
            found = [path for folder in found for path in _in_any_case(folder, part)]
        if len(found) > 1:
            raise InputError(f"{root}: {found[0].name} and {found[1].name}: expected one {what}")
        if found:
            return found[0]
    raise InputError(f"{root}: no {what}: expected {' or '.join(names)}")


def _in_any_case(folder: Path, name: str) -> list[Path]:
    try:
        return [folder / n for n in sorted(os.listdir(folder)) if n.lower() == name.lower()]
    except OSError:
        return []


def warn_counts(
    what: str,
    records: Sequence[ClipRecord],
    classes: Sequence[str],
    published: int | Sequence[int],
) -> None:
    """Warns once, in one line, where clips are not as many as published.

    Args:
        what: such as ``dfew fold 1 test``.
        records: the clips that were found.
        classes: class names that the labels index.
        published: number of clips in all, or of each class.
    """
    if isinstance(published, int):
        if len(records) != published:
            warnings.warn(
                f"{what}: {len(records)} clips, published {published}",
                DatasetCountWarning,
                stacklevel=2,
            )
        return
    found = Counter(record.label for record in records)
    differing = [
        f"{name} {found[label]} (published {count})"
        for label, (name, count) in enumerate(zip(classes, published, strict=True))
        if found[label] != count
    ]
    if differing:
        warnings.warn(
            f"{what}: {len(records)} clips, published {sum(published)}: {', '.join(differing)}",
            DatasetCountWarning,
            stacklevel=2,
        )
