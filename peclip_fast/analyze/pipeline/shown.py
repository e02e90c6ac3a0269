"""What a person shows at each moment, from windows that overlap and may hold two expressions.

A frame's mean over its windows changes in steps of a stride, and not where the expression does:
some expressions outshine others, so that a window is called after one that fills less than half of
it, and a model may take a mixture of two for a third one. So two things are done instead.

1. The sequence of expressions is the most probable path of a hidden Markov model (Viterbi's
   algorithm): a window is evidence of what is shown at its middle, and each change costs something.
2. A change from one class to another is timed by the windows around it. A model's logits are made
   of a mean over frames, so the logarithm of the ratio of the two probabilities goes about linearly
   from its value in the windows before to that in the windows after, as the share of the second
   expression in the window grows. That gives each window's share, and the shares give the time.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from peclip_fast.analyze.pipeline.windows import Window, WindowOptions
from peclip_fast.analyze.results import Probabilities
from peclip_fast.faces.geometry import Array

_CHANGE = 3.0  # what a change costs, as a logarithm of probabilities
_FLOOR = 0.02  # no window speaks against a class more than so small a probability does
_LEAST = 1e-30  # probability, in ratios
_KNOWN = 2  # windows' lengths before and after a moment that are looked at


def certain_after(options: WindowOptions) -> float:
    """Seconds: windows that begin later than a moment by so much don't change what is shown then.

    So it doesn't depend on which windows are classified together.
    """
    return _KNOWN * options.seconds


@dataclass(frozen=True, eq=False)
class _Said:
    """A window's part in the path.

    Args:
        start: when it begins, in seconds.
        end: when its last frame is shown.
        values: probabilities, (classes,).
        best: (classes,), of the best path that ends in each class here.
        former: (classes,), the class before on that path.
    """

    start: float
    end: float
    values: Array
    best: Array
    former: NDArray[np.intp]

    @property
    def middle(self) -> float:
        return (self.start + self.end) / 2


class ShownClasses:
    """What one track shows. In memory are the windows of a few windows' lengths.

    Args:
        options: of the windows.
    """

    def __init__(self, options: WindowOptions) -> None:
        self._ahead = certain_after(options)
        # However many windows hold a moment: together they are as much evidence as two.
        self._weight = min(1.0, 2 * options.stride / options.seconds)
        self._said: deque[_Said] = deque()
        self._found: tuple[_Said, _Said, int, list[tuple[float, int]]] | None = None

    def add(self, window: Window, probabilities: Probabilities) -> None:
        """The next window of the track, in the order of their starts."""
        values = np.asarray(probabilities)
        best = self._weight * np.log(np.maximum(values, _FLOOR))
        former = np.arange(len(values))
        if self._said:
            before = self._said[-1].best
            change = before.max() - _CHANGE
            former = np.where(before >= change, former, before.argmax())
            best = best + np.maximum(before, change)
        self._said.append(_Said(window.start, window.end, values, best, former))

    def at(self, time: float) -> int:
        """The class at a moment that a window holds, not before that of the last call."""
        while len(self._said) > 1 and self._said[0].end < time - self._ahead:
            self._said.popleft()
        said = [one for one in self._said if one.start < time + self._ahead]
        first, last = said[0], said[-1]
        if self._found is None or self._found[0] is not first or self._found[1] is not last:
            path = _path(said)
            self._found = first, last, path[0], list(_changes(said, path))
        shown = self._found[2]
        for when, after in self._found[3]:
            if when <= time:
                shown = after
        return shown


def _path(said: Sequence[_Said]) -> list[int]:
    """The class of each window on the best path."""
    path = [int(said[-1].best.argmax())]
    for one in reversed(said[1:]):
        path.append(int(one.former[path[-1]]))
    return path[::-1]


def _changes(said: Sequence[_Said], path: Sequence[int]) -> Iterator[tuple[float, int]]:
    """When the class becomes another one, and which, in order."""
    bounds = [0, *(k for k in range(1, len(path)) if path[k] != path[k - 1]), len(path)]
    last = -float("inf")
    for start, change, end in zip(bounds, bounds[1:], bounds[2:], strict=False):
        last = max(
            last, _time(said[start:change], said[change:end], path[change - 1], path[change])
        )
        yield last, path[change]


def _time(before: Sequence[_Said], after: Sequence[_Said], one: int, other: int) -> float:
    """When one class becomes another.

    Args:
        before: the windows of the one, up to the change.
        after: those of the other, from the change on.
        one: the class before.
        other: the class after.
    """
    from_, to = before[-1].start, after[0].end  # a change elsewhere would be between others
    before = [w for w in before if w.end > from_]
    after = [w for w in after if w.start < to]
    windows = [*before, *after]
    values = np.maximum(np.stack([w.values for w in windows]), _LEAST)
    ratios = np.log(values[:, one] / values[:, other])
    pure, other_pure = ratios[: len(before)].max(), ratios[len(before) :].min()
    if pure <= other_pure:
        return (before[-1].middle + after[0].middle) / 2
    share = float(((pure - ratios) / (pure - other_pure)).clip(0, 1).sum())  # of all windows
    starts = np.array([w.start for w in windows])
    ends = np.array([w.end for w in windows])
    # What the shares would add up to for a change at each of these; between them, linear.
    times = np.sort(np.concatenate([starts, ends]))
    lengths = np.maximum(ends - starts, 1e-9)
    shares = ((ends - times[:, None]) / lengths).clip(0, 1).sum(1)
    return float(np.interp(share, shares[::-1], times[::-1]).clip(from_, to))
