"""The windows of one video, in batches that depend on nothing else."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from peclip_fast.analyze.pipeline.classify import Deliver
from peclip_fast.analyze.pipeline.windows import Window
from peclip_fast.analyze.results import Probabilities

_ON_THEIR_WAY = 2  # batches of a video, beyond which its frames wait

Stacked = Mapping[str, NDArray[np.uint8]]


class Answer(Protocol):
    """The probabilities of a batch, sooner or later."""

    def result(self) -> Sequence[Probabilities]:
        """Waits for them."""


class VideoQueue:
    """``Windows`` of the session of one video.

    When a batch's rows are written depends on the video alone, not on how fast the model is. So the
    tables are the same, byte for byte, wherever they are made.

    Args:
        classify: begins to classify a batch: each input as uint8 (N, T, 3, side, side).
        batch: windows at a time.
    """

    def __init__(self, classify: Callable[[Stacked], Answer], batch: int) -> None:
        self._classify, self._batch = classify, batch
        self._waiting: list[tuple[Window, Deliver]] = []
        self._sent: deque[tuple[Answer, list[tuple[Window, Deliver]]]] = deque()

    def put(self, window: Window, deliver: Deliver) -> None:
        """Add a window, whose probabilities ``deliver`` gets later."""
        self._waiting.append((window, deliver))
        if len(self._waiting) >= self._batch:
            self._send()

    def poll(self) -> None:
        """Nothing is delivered early."""

    def flush(self) -> None:
        """Deliver all."""
        if self._waiting:
            self._send()
        while self._sent:
            self._take()

    def _send(self) -> None:
        waiting, self._waiting = self._waiting, []
        given = [window.given for window, _ in waiting]
        stacked = {name: np.stack([one[name].numpy() for one in given]) for name in given[0]}
        self._sent.append((self._classify(stacked), waiting))
        while len(self._sent) > _ON_THEIR_WAY:
            self._take()

    def _take(self) -> None:
        answer, windows = self._sent.popleft()
        for (window, deliver), probabilities in zip(windows, answer.result(), strict=True):
            deliver(window, probabilities)
