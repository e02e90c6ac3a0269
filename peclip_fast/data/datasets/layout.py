"""What the dataset readers share: roots, folds, media files, published counts."""

from __future__ import annotations

import os
import re
import warnings
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from peclip_fast.config.data import DataConfig
from peclip_fast.data.records import ClipRecord
from peclip_fast.errors import InputError

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp"})
VIDEO_SUFFIXES = frozenset(
    {".mp4", ".avi", ".mov", ".mkv", ".webm", ".flv", ".m4v", ".mpg", ".mpeg", ".wmv", ".3gp"}
)


class DatasetCountWarning(UserWarning):
    """A dataset on disk has other numbers of clips than were published."""


def natural_key(name: str) -> tuple[object, ...]:
    """Sorts ``frame_2`` before ``frame_10``; the name itself breaks ties such as 1 and 01."""
    pieces = re.split(r"(\d+)", name)
    return (*(int(p) if p.isdecimal() else p.lower() for p in pieces), name)


def require_root(config: DataConfig, holds: str) -> Path:
    """The dataset's folder, which must be given and exist."""
    if config.root is None:
        raise InputError(f"data.root: {config.dataset} needs the folder that holds {holds}")
    root = Path(config.root).expanduser()
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
    """The first of several spellings that exists under root; ``""`` is root itself."""
    names = list(candidates)
    for name in names:
        if (root / name).exists():
            return root / name
    raise InputError(f"{root}: no {what}: expected {' or '.join(names)}")


def list_clips(folder: Path) -> list[Path]:
    """Video files and frame folders directly in a folder, in natural order.

    Hidden files and files of other kinds are passed over.

    Raises:
        InputError: the folder holds no clip.
    """
    with os.scandir(folder) as entries:
        names = [
            entry.name
            for entry in entries
            if not entry.name.startswith(".")
            and (entry.is_dir() or os.path.splitext(entry.name)[1].lower() in VIDEO_SUFFIXES)
        ]
    if not names:
        raise InputError(f"{folder}: empty folder: expected video files or folders of frames")
    return [folder / name for name in sorted(names, key=natural_key)]


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
