"""Learning from few clips: some training clips of each class, drawn by a seed."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import torch

from peclip_fast.config.data import DataConfig
from peclip_fast.data.randomness import derived_generator
from peclip_fast.data.records import DatasetSplits


def draw_shots(splits: DatasetSplits, shots: int, seed: int) -> DatasetSplits:
    """At most ``shots`` training clips of each class, in their former order.

    A draw is a function of the seed, the class's number and its number of clips, and holds
    the draws of fewer shots. A class of no more clips keeps all of them. Test clips stay.
    """
    groups: list[list[int]] = [[] for _ in splits.classes]
    for index, record in enumerate(splits.train):
        groups[record.label].append(index)
    chosen: list[int] = []
    for label, group in enumerate(groups):
        order = torch.randperm(len(group), generator=derived_generator(seed, label))
        chosen += [group[i] for i in order[:shots].tolist()]
    return replace(splits, train=[splits.train[i] for i in sorted(chosen)])


def described(splits: DatasetSplits, config: DataConfig) -> str:
    """The draw for people: what was asked for, and the classes that have fewer clips."""
    counts = Counter(record.label for record in splits.train)
    fewer = [
        f"{name} ({counts[label]})"
        for label, name in enumerate(splits.classes)
        if counts[label] < (config.shots or 0)
    ]
    return (
        f"at most {config.shots} training clips of each class, drawn by the seed "
        f"{config.shots_seed}" + (f"; fewer there are of {', '.join(fewer)}" if fewer else "")
    )
