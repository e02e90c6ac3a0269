"""A file made from each clip, in processes, so that a run that was ended can go on."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

from peclip_fast.config.data import DataConfig
from peclip_fast.data.loading.loader import default_workers
from peclip_fast.data.processes import Lost, over_clips
from peclip_fast.data.records import ClipRecord
from peclip_fast.errors import InputError
from peclip_fast.files import clear_partial

Made = TypeVar("Made")


def make_files(
    make: Callable[[tuple[Path, ClipRecord]], Made | InputError],
    jobs: Mapping[Path, ClipRecord],
    processes: int,
    seconds: float,
    skip: bool,
    title: str,
) -> dict[Path, Made | InputError]:
    """What became of each file.

    Args:
        make: writes one file from one clip by ``peclip_fast.files``, unless it is there; gives what
            is to be known of it, or the error of a bad clip. What it raises ends all.
        jobs: the files and their clips. What was left half written of them is removed.
        processes: how many work.
        seconds: time for one clip.
        skip: go on after a bad clip.
        title: stands before the progress bar.

    Raises:
        InputError: the first bad clip, unless they are skipped.
        OSError: the folder can't be written.
    """
    items = list(jobs.items())
    clear_partial(jobs)
    done: dict[Path, Made | InputError] = {}
    try:
        # Closed before partial files are cleared, so that nobody is writing any more.
        with contextlib.closing(over_clips(make, items, processes, seconds, title)) as answers:
            for index, made in answers:
                target, record = items[index]
                if isinstance(made, Lost):
                    made = InputError(f"{record.path}: {made.reason}")
                if isinstance(made, InputError) and not skip:
                    raise made
                done[target] = made
    finally:
        clear_partial(jobs)
    return {target: done[target] for target in jobs}


def processes_of(config: DataConfig) -> int:
    """How many processes look at clips: always others than this one, as they may crash."""
    workers = default_workers() if config.num_workers is None else config.num_workers
    return max(1, workers)
