"""One function over many clips in processes, of which none can take the others down."""

from __future__ import annotations

import contextlib
import gc
import multiprocessing
import signal
import time
from collections import deque
from collections.abc import Callable, Generator, Sequence
from multiprocessing.connection import Connection, wait
from multiprocessing.pool import ExceptionWithTraceback  # type: ignore[attr-defined]
from typing import Any, NamedTuple

from tqdm import tqdm

_FORK = multiprocessing.get_context("fork")  # a new interpreter would import torch first


def leave_inherited() -> None:
    """Never collect what this forked process has from its parent; called when it starts.

    To close a decoder whose threads stayed with the parent would wait for them for ever.
    """
    gc.freeze()


class Lost(NamedTuple):
    """Stands for the answer of a process that died or had to be ended: why."""

    reason: str


def over_clips(
    work: Callable[[Any], Any],
    items: Sequence[Any],
    processes: int,
    seconds: float,
    title: str,
) -> Generator[tuple[int, Any], None, None]:
    """(index, ``work(items[index])``) in the order in which they get ready, with a progress bar.

    A clip on which a decoder crashes or hangs costs its own answer, which then is ``Lost``, and a
    new process. One whose process died is given to another one first, as it may be that the clip
    has nothing to do with it: the system ends processes when memory runs out.

    Args:
        work: a function whose answers can be pickled; what it raises is raised here.
        items: its arguments.
        processes: how many, at least 1.
        seconds: time for one item, after which its process is ended.
        title: stands before the bar.
    """
    waiting = deque(range(len(items)))
    given_again: set[int] = set()
    workers: list[_Worker] = []

    def start(count: int) -> None:
        for _ in range(min(count, len(waiting))):
            workers.append(_Worker(work))
            workers[-1].give(waiting.popleft(), items, seconds)

    try:
        start(processes)
        with tqdm(total=len(items), desc=title, unit="clip", disable=None) as bar:
            while workers:
                nearest = min(worker.deadline for worker in workers)
                wait([w.connection for w in workers], max(0.0, nearest - time.monotonic()))
                for worker in [*workers]:
                    answer = worker.answer()
                    if answer is None:
                        continue
                    lost = isinstance(answer[0], Lost)
                    if lost and worker.has_died and worker.index not in given_again:
                        given_again.add(worker.index)
                        waiting.appendleft(worker.index)
                    else:
                        bar.update()
                        yield worker.index, answer[0]
                    if waiting and not lost:
                        worker.give(waiting.popleft(), items, seconds)
                        continue
                    worker.end()
                    workers.remove(worker)
                    if lost:
                        start(1)
    finally:
        for worker in workers:
            worker.end()


class _Worker:
    """A process and the item that it works on."""

    def __init__(self, work: Callable[[Any], Any]) -> None:
        self.connection, theirs = _FORK.Pipe()
        self.process = _FORK.Process(
            target=_serve, args=(work, theirs, self.connection), daemon=True
        )
        self.process.start()
        theirs.close()  # so that its death is the end of what can be received

    def give(self, index: int, items: Sequence[Any], seconds: float) -> None:
        self.index, self.seconds = index, seconds
        self.deadline = time.monotonic() + seconds
        with contextlib.suppress(BrokenPipeError):  # it has died; answer() says so
            self.connection.send(items[index])

    def answer(self) -> tuple[Any] | None:
        """The answer, in a tuple of its own, once there is one."""
        if self.connection.poll():
            try:
                answer, error = self.connection.recv()
            except (EOFError, OSError):
                self.process.join()
                return (Lost(f"the process that read it {ended(self.process.exitcode)}"),)
            if error is not None:
                raise error
            return (answer,)
        if time.monotonic() > self.deadline:
            return (Lost(f"not done within {self.seconds:g} s"),)
        return None

    @property
    def has_died(self) -> bool:
        return not self.process.is_alive()

    def end(self) -> None:
        self.process.kill()
        self.process.join()
        self.connection.close()


def _serve(work: Callable[[Any], Any], connection: Connection, inherited: Connection) -> None:
    leave_inherited()
    inherited.close()  # so that the parent's death is the end of what can be received
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent is interrupted too, and ends us
    with contextlib.suppress(EOFError, ConnectionError):  # the parent was killed
        while True:
            item = connection.recv()
            try:
                answer = work(item), None
            except Exception as error:
                answer = None, ExceptionWithTraceback(error, error.__traceback__)
            connection.send(answer)


def ended(exitcode: int | None) -> str:
    """How a process came to its end, after its name."""
    if exitcode is not None and exitcode < 0:
        return f"was ended by {signal.Signals(-exitcode).name}"
    return f"ended with code {exitcode}"
