"""What becomes of a loader whose worker process was killed, as the system does without memory."""

from __future__ import annotations

import contextlib
import copy
import ctypes
import multiprocessing
import re
import signal
import sys
from collections.abc import Iterator
from multiprocessing.context import BaseContext
from multiprocessing.sharedctypes import RawValue
from typing import Any

from torch.utils.data._utils import signal_handling
from torch.utils.data.dataloader import _MultiProcessingDataLoaderIter

from peclip_fast.data.processes import ended
from peclip_fast.errors import InputError

# What a loader raises: PyTorch's word, or what is met in fetching a batch from who has just died.
DEATHS = (RuntimeError, ConnectionError, EOFError)
MOST = 3  # deaths without a batch between them
_DEAD = re.compile(r"DataLoader worker \(pid(?:\(s\))? ([\d, ]+)\)")


class _Event:
    """What a DataLoader needs of multiprocessing's Event, without its lock.

    A worker that is killed as it looks whether it is to end would leave that held for good, and the
    main process looks too as soon as it hears of the death.
    """

    def __init__(self) -> None:
        self._flag = RawValue(ctypes.c_bool, False)

    def set(self) -> None:
        self._flag.value = True

    def is_set(self) -> bool:
        return bool(self._flag.value)


def outliving_workers() -> BaseContext:
    """multiprocessing's own context, but no lock that a worker held stops the main process."""
    context = copy.copy(multiprocessing.get_context())
    context.Event = _Event  # type: ignore[assignment, method-assign]
    return context


def hear_no_deaths() -> None:
    """Keep PyTorch from answering SIGCHLD outside of ``hearing_deaths()``.

    Its answer to a dead worker raises an error wherever the program stands, as in the middle of an
    optimizer step.
    """
    signal_handling._set_SIGCHLD_handler()  # once, and in the main thread only
    if _Hearing.handler is None and signal_handling._SIGCHLD_handler_set:
        _Hearing.handler = signal.getsignal(signal.SIGCHLD)
        signal.signal(signal.SIGCHLD, _answer)


@contextlib.contextmanager
def hearing_deaths() -> Iterator[None]:
    """Have the death of a worker, also of a while ago, raise an error within the block."""
    _Hearing.now = True
    try:
        signal_handling._error_if_any_worker_fails()
        yield
    finally:
        _Hearing.now = False


def replace_workers(error: Exception, batches: Any, deaths: int) -> None:
    """Say that a worker has died, and end the others, so that new ones can be started.

    They are killed, as the orderly way could wait for a lock that the dead one held.

    Args:
        error: one of DEATHS; a RuntimeError of another kind is raised again.
        batches: the loader's iterator.
        deaths: while one batch was waited for.

    Raises:
        InputError: there were too many.
    """
    if isinstance(error, RuntimeError) and not str(error).startswith("DataLoader worker (pid"):
        raise error
    how = "has ended"
    if isinstance(batches, _MultiProcessingDataLoaderIter):
        codes = [worker.exitcode for worker in batches._workers if worker.exitcode]
        how = ended(codes[0]) if codes else how
        own = {worker.pid for worker in batches._workers}
        _kill(batches)
        dead = _DEAD.match(str(error))
        if dead and not own & {int(pid) for pid in dead[1].split(",")}:
            return  # PyTorch raises for any loader's workers; the one whose it was will say so
    if deaths >= MOST:
        raise InputError(
            f"a process that reads clips {how}, {deaths} times for one batch; the system does so "
            "when memory or shared memory (/dev/shm) is short: lower data.num_workers, "
            "data.prefetch or train.batch_size"
        ) from None
    message = f"warning: a process that reads clips {how}; starting new ones"
    print(message, file=sys.stderr, flush=True)


def _kill(batches: _MultiProcessingDataLoaderIter) -> None:
    batches._shutdown = True  # it has nothing to do any more
    if batches._worker_pids_set:
        signal_handling._remove_worker_pids(id(batches))
        batches._worker_pids_set = False
    if hasattr(batches, "_pin_memory_thread"):
        batches._pin_memory_thread_done_event.set()
    for worker in batches._workers:
        worker.kill()
        worker.join()
    for queue in batches._index_queues:
        queue.cancel_join_thread()
        queue.close()


class _Hearing:
    """Whether an error is welcome, and PyTorch's handler once it is known."""

    now = False
    handler: Any = None


def _answer(number: int, frame: Any) -> None:
    if _Hearing.now:
        _Hearing.handler(number, frame)
