"""The training loader that starts where the run stands."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any


class EpochBatches:
    """What Lightning iterates over in each epoch.

    Lightning counts the batches that a resumed epoch has done, yet takes a loader from its
    beginning. And it may ask for an iterator before it knows the epoch. So the batches are looked
    up at the first request, from the place where the run stands then.

    Args:
        load: batches of an epoch from a given batch on.
        position: the epoch, and the batches of it that are done.
        length: batches in a whole epoch.
    """

    def __init__(
        self,
        load: Callable[[int, int], Iterable[Any]],
        position: Callable[[], tuple[int, int]],
        length: int,
    ) -> None:
        self.load = load
        self.position = position
        self.length = length

    def __len__(self) -> int:
        return self.length

    def __iter__(self) -> Iterator[Any]:
        yield from self.load(*self.position())
