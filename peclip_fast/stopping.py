"""SIGINT, SIGTERM, SIGHUP: where they end the work at once, and where they wait for its next rest.

Within ``watch()`` each of them raises ``Stopped``, wherever the program stands. Within ``hold()``
it waits: for the next ``release()``, which raises it, or for the end of the block. A second signal
ends the process at once where ``watch()`` says so.

An exception is lost in what Python calls by itself: destructors, callbacks of forks, of weak
references and of the garbage collector; and a compiled module that is being imported makes another
one of it. A signal that comes there is raised a moment later, until it gets through; destructors,
forks and those imports are done to their end before.

Forked children are out of reach: a signal to the whole group is their parent's to answer, who ends
them.
"""

from __future__ import annotations

import _thread
import contextlib
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from importlib.machinery import ExtensionFileLoader
from types import FrameType
from typing import Any, NoReturn

# Launchers pass on to their processes what the whole group has received already, so that a second
# signal within so many seconds is the first one again.
PASSED_ON = 2.0
_LOADING = ("create_module", "exec_module")
_MOMENT = 0.01  # seconds until a signal is raised again that was lost or came amiss
_WORDS = {
    signal.SIGINT: "interrupted",
    signal.SIGTERM: "terminated",
    signal.SIGHUP: "hung up",  # the terminal was closed
}
# What may be the reason of a stop; SIGPIPE never comes as a signal, but by ask().
REASONS = (*_WORDS, signal.SIGPIPE)


class Stopped(KeyboardInterrupt):
    """This process, or another one of the run, was asked to end.

    Args:
        number: of the signal.
        advice: how to go on, if there is something to go on with.
    """

    def __init__(self, number: int, advice: str = "") -> None:
        super().__init__(number, advice)
        self.number = number
        self.advice = advice

    @property
    def exit_code(self) -> int:
        """As a shell has it: 130 after SIGINT, 143 after SIGTERM, 129 after SIGHUP."""
        return 128 + self.number

    def __str__(self) -> str:
        word = _WORDS.get(signal.Signals(self.number), "standard output can't be written")
        return f"{word}; {self.advice}" if self.advice else word


class _Watch:
    """The one of this process; signals are of the process too."""

    process: int | None = None  # that watches; its forked children don't
    ends: bool = False
    held: int = 0
    forking: bool = False  # the main thread is
    came: tuple[int, float] | None = None  # the first signal, and when
    raised: bool = False  # Stopped was, at least once
    again: bool = False  # what comes next is the first signal again, sent by this process


def _answer(number: int, frame: FrameType | None) -> None:
    if _Watch.process != os.getpid():
        return
    if _Watch.came is None or _Watch.again:
        _Watch.came = _Watch.came or (number, time.monotonic())
        _Watch.again = False
        if _is_lost_in(frame):
            _raise_later()
        else:
            check()
    elif time.monotonic() > _Watch.came[1] + PASSED_ON:
        if _Watch.ends:
            _end_at_once(number)
        raise KeyboardInterrupt  # no Stopped, as what was held is left half done


def _is_lost_in(frame: FrameType | None) -> bool:
    while frame is not None:
        loader = frame.f_locals.get("self") if frame.f_code.co_name in _LOADING else None
        if frame.f_code.co_name == "__del__" or isinstance(loader, ExtensionFileLoader):
            return True
        frame = frame.f_back
    return False


def _raise_later() -> None:
    """Send the signal that has come once more, in a moment.

    By a thread without an object, as nobody knows which of threading's locks are held here.
    """

    def send() -> None:
        time.sleep(_MOMENT)
        main = threading.main_thread().ident
        if _waits() and _Watch.came is not None and main is not None:
            _Watch.again = True
            signal.pthread_kill(main, _Watch.came[0])

    _thread.start_new_thread(send, ())


def _hear_lost(former: Callable[[Any], object]) -> Callable[[Any], None]:
    """A hook for exceptions that Python can't raise, which raises our own ones later."""

    def hook(lost: Any) -> None:
        if isinstance(lost.exc_value, Stopped):
            _raise_later()
        else:
            former(lost)

    return hook


def _end_at_once(number: int) -> NoReturn:
    for child in multiprocessing.active_children():
        child.kill()
    os.write(2, f"{_WORDS[signal.Signals(number)]} again: ended at once\n".encode())
    os._exit(128 + number)


def _leave_group() -> None:
    """Called in each forked child."""
    if _Watch.process is not None:
        _Watch.process = None
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        os.setpgid(0, 0)
    _Watch.forking = False


def _before_fork() -> None:
    _Watch.forking = threading.current_thread() is threading.main_thread()


def _after_fork() -> None:
    if _Watch.forking:
        _Watch.forking = False
        if _waits() and _Watch.came is not None and _Watch.came[0] in _WORDS:
            _raise_later()


# Python calls them around those of all modules that were imported before.
os.register_at_fork(before=_before_fork, after_in_parent=_after_fork, after_in_child=_leave_group)


@contextlib.contextmanager
def watch(second_ends: bool = False) -> Iterator[None]:
    """Turn signals into ``Stopped`` for the time of the block.

    Nothing changes within another ``watch()``, nor outside of the main thread, where no signals
    arrive.

    Args:
        second_ends: whether a second signal ends the process without further ado, as commands want
            it; otherwise it raises KeyboardInterrupt even where the first one has to wait.
    """
    main = threading.current_thread() is threading.main_thread()
    if not main or _Watch.process == os.getpid():
        yield
        return
    # What is ignored stays so, as SIGINT is by a shell's background jobs.
    handlers = {number: signal.getsignal(number) or signal.SIG_DFL for number in _WORDS}
    former = {n: handler for n, handler in handlers.items() if handler != signal.SIG_IGN}
    _Watch.process, _Watch.ends, _Watch.held = os.getpid(), second_ends, 0
    _Watch.came, _Watch.raised = None, False
    hook, sys.unraisablehook = sys.unraisablehook, _hear_lost(sys.unraisablehook)
    for number in former:
        signal.signal(number, _answer)
    try:
        yield
    finally:
        sys.unraisablehook = hook
        for number, handler in former.items():
            signal.signal(number, handler)
        _Watch.process = None


@contextlib.contextmanager
def hold() -> Iterator[None]:
    """Let signals wait until the block has ended, for what must not be left half done."""
    _Watch.held += 1
    try:
        yield
    finally:
        _Watch.held -= 1
    check()


@contextlib.contextmanager
def release() -> Iterator[None]:
    """Within ``hold()``: raise ``Stopped`` for a signal that waits, or comes during the block."""
    held, _Watch.held = _Watch.held, 0
    try:
        check()
        yield
    finally:
        _Watch.held = held


@contextlib.contextmanager
def named() -> Iterator[None]:
    """Raise ``Stopped`` again where a library made another exception out of it.

    Ray makes a KeyboardInterrupt of its own, safetensors says that the file isn't whole. What fails
    while a ``Stopped`` is being answered, as a disk that is full, stays what it is.
    """
    try:
        yield
    except (KeyboardInterrupt, Exception) as error:
        if _Watch.raised and not _comes_of_stopped(error):
            check()
        raise


def _comes_of_stopped(error: BaseException | None) -> bool:
    while error is not None and not isinstance(error, Stopped):
        error = error.__context__
    return error is not None


def ask(number: int) -> None:
    """Stop, as if a signal had come, at the next rest."""
    if _Watch.came is None:
        _Watch.came = number, time.monotonic()


def check() -> None:
    """Raise ``Stopped`` if a signal has come and nothing holds it."""
    if _Watch.came and _waits():
        _Watch.raised = True
        raise Stopped(_Watch.came[0])


def _waits() -> bool:
    """Whether a signal has come that nothing holds."""
    free = not _Watch.held and not _Watch.forking
    return free and _Watch.process == os.getpid() and _Watch.came is not None
