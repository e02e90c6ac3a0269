"""The model, which looks at clips and windows of all clients together."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, TypeVar

import torch

from peclip_fast.analyze.pipeline.classify import WindowClassifier
from peclip_fast.analyze.results import Probabilities

T = TypeVar("T")
Given = dict[str, torch.Tensor]


@dataclass(frozen=True)
class _Asked:
    """What a model sees of one clip: uint8 (T, 3, side, side) each, by name."""

    given: Given
    found: Future[Probabilities]


class DeviceQueue:
    """One thread that has the model, and makes batches of all that waits.

    Clips go before the windows of jobs, but leave them a place in each batch.

    Args:
        classifier: the model.
        batch: clips and windows at a time, at least 2.
        gather: seconds that a clip waits for others to come, where nothing else is to do.
        counted: is told the size of each batch and the seconds that it took.
    """

    def __init__(
        self,
        classifier: WindowClassifier,
        batch: int,
        gather: float = 0.002,
        counted: Callable[[int, float], None] = lambda size, seconds: None,
    ) -> None:
        self._classifier, self._batch = classifier, max(2, batch)
        self._gather, self._counted = gather, counted
        self._clips: deque[_Asked] = deque()
        self._windows: deque[_Asked] = deque()
        self._calls: deque[tuple[Callable[[], Any], Future[Any]]] = deque()
        self._changed = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._work, name="device", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """Clips and windows."""
        return len(self._clips) + len(self._windows)

    def clip(self, given: Given) -> Future[Probabilities]:
        """The probabilities of a clip that somebody waits for."""
        return self._ask(self._clips, given)

    def window(self, given: Given) -> Future[Probabilities]:
        """The probabilities of a window of a job, in the order of asking."""
        return self._ask(self._windows, given)

    def call(self, function: Callable[[], T]) -> Future[T]:
        """What a function gives that needs the model for itself."""
        result: Future[T] = Future()
        with self._changed:
            self._refuse_if_closed()
            self._calls.append((function, result))
            self._changed.notify()
        return result

    def close(self) -> None:
        """Finish what waits, then end the thread."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join()

    def _ask(self, waiting: deque[_Asked], given: Given) -> Future[Probabilities]:
        asked = _Asked(given, Future())
        with self._changed:
            self._refuse_if_closed()
            waiting.append(asked)
            self._changed.notify()
        return asked.found

    def _refuse_if_closed(self) -> None:
        if self._closed:
            raise RuntimeError("the device is closed")

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self.waiting or self._calls or self._closed)
                if not (self.waiting or self._calls):
                    return
                if len(self._clips) < self._batch and self._clips:
                    # Others that came at the same moment are still being decoded.
                    self._changed.wait(self._gather)
                call = self._calls.popleft() if self._calls else None
                batch = self._taken()
            if batch:
                self._classify(batch)
            if call is not None:
                _settle(call[1], call[0])

    def _taken(self) -> list[_Asked]:
        """The next batch."""
        room = self._batch - (1 if self._windows else 0)
        batch = [self._clips.popleft() for _ in range(min(room, len(self._clips)))]
        room = self._batch - len(batch)
        return batch + [self._windows.popleft() for _ in range(min(room, len(self._windows)))]

    def _classify(self, batch: list[_Asked]) -> None:
        batch = [asked for asked in batch if asked.found.set_running_or_notify_cancel()]
        if not batch:  # nobody waits for them any more
            return
        began = time.perf_counter()
        try:
            found = self._classifier.probabilities([asked.given for asked in batch])
        except BaseException as error:
            for asked in batch:
                asked.found.set_exception(error)
            return
        self._counted(len(batch), time.perf_counter() - began)
        for asked, probabilities in zip(batch, found, strict=True):
            asked.found.set_result(probabilities)


def _settle(result: Future[T], function: Callable[[], T]) -> None:
    if not result.set_running_or_notify_cancel():
        return
    try:
        result.set_result(function())
    except BaseException as error:
        result.set_exception(error)
