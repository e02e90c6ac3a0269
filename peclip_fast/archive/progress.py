"""How far an archive is: a bar on a terminal, and in a log a line now and then."""

from __future__ import annotations

import time
from collections.abc import Callable

from tqdm import tqdm

EVERY = 60.0  # seconds from one line to the next
_SEEN = 0.1  # how much the last videos count in the time that is left on a terminal


class Progress:
    """Counts videos that end.

    Args:
        total: videos that there are to do.
        tell: gets a line on each that failed, and where there is no terminal those on the whole.
        clock: seconds.
    """

    def __init__(
        self, total: int, tell: Callable[[str], None], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._total, self._tell, self._clock = total, tell, clock
        self._bar = tqdm(
            total=total, unit="video", disable=None, smoothing=_SEEN, dynamic_ncols=True
        )
        self._begin = self._told = clock()
        self._ended = self._failed = 0

    def end(self, error: str | None) -> None:
        """One has ended; ``error`` says why it has no result."""
        self._ended += 1
        if error is not None:
            self._failed += 1
            self._bar.clear()
            self._tell(f"failed: {error}")
        self._bar.set_postfix(failed=self._failed, refresh=False)
        self._bar.update()
        now = self._clock()
        if self._bar.disable and now - self._told >= EVERY and self._ended < self._total:
            self._told = now
            seconds = (now - self._begin) / self._ended * (self._total - self._ended)
            self._tell(
                f"{self._ended} of {self._total} videos, {self._failed} failed, "
                f"about {tqdm.format_interval(seconds)} left"
            )

    def close(self) -> None:
        """Nothing more is shown."""
        self._bar.close()
