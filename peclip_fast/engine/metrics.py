"""WAR, UAR and the confusion matrix."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Scores:
    """How well labels were predicted.

    Args:
        classes: the fixed list; rows, columns and recalls are in its order.
        confusion: clips with the row's label and the column's prediction.
    """

    classes: tuple[str, ...]
    confusion: tuple[tuple[int, ...], ...]

    @property
    def counts(self) -> tuple[int, ...]:
        """Clips per class."""
        return tuple(sum(row) for row in self.confusion)

    @property
    def recalls(self) -> tuple[float | None, ...]:
        """Share of each class's clips that were found; None for a class without clips."""
        rows = zip(self.confusion, self.counts, strict=True)
        return tuple(row[i] / count if count else None for i, (row, count) in enumerate(rows))

    @property
    def absent(self) -> tuple[str, ...]:
        """The classes without clips."""
        pairs = zip(self.classes, self.counts, strict=True)
        return tuple(name for name, count in pairs if count == 0)

    @property
    def war(self) -> float:
        """Weighted average recall, which is accuracy."""
        return sum(row[i] for i, row in enumerate(self.confusion)) / sum(self.counts)

    @property
    def uar(self) -> float:
        """Unweighted average recall: the mean over the classes that have clips.

        ``absent`` names the others; whoever shows a UAR shows them too.
        """
        present = [recall for recall in self.recalls if recall is not None]
        return sum(present) / len(present)

    @property
    def uar_rule(self) -> str:
        """Which classes the UAR is the mean of, in words."""
        number = len(self.classes)
        if not self.absent:
            return f"mean recall of all {number} classes"
        return (
            f"mean recall of {number - len(self.absent)} of {number} classes; "
            f"without clips: {', '.join(self.absent)}"
        )


def score(labels: Tensor, predictions: Tensor, classes: Sequence[str]) -> Scores:
    """Scores of predicted classes (N,) against labels (N,), N at least 1."""
    if len(labels) == 0:
        raise ValueError("no clips to score")
    number = len(classes)
    pairs = torch.bincount(labels * number + predictions, minlength=number**2)
    return Scores(tuple(classes), tuple(map(tuple, pairs.view(number, number).tolist())))
