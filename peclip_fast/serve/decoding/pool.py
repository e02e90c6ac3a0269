"""The server's side of decoding: processes that take tasks, and are replaced when they die."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import queue
import threading
import time
from collections.abc import Callable, Mapping
from multiprocessing.connection import Connection
from typing import Any

from peclip_fast.errors import InputError, one_line
from peclip_fast.serve.decoding.child import serve_tasks
from peclip_fast.serve.decoding.messages import hear, tell
from peclip_fast.serve.decoding.recipe import ServedRecipe
from peclip_fast.serve.limits import StatusError

# A fork of a process that has imported everything, and has no threads, starts in no time.
_SERVER = multiprocessing.get_context("forkserver")
_START = 120.0  # seconds until a process is ready
_LAST_WORDS = 0.5  # seconds in which one that closed its connection ends by itself
_ENDING = 5.0  # seconds

Said = dict[str, Any]
Heard = Callable[[Said, Connection], None]


class _Line(Connection):
    """A connection that one thread may close while another one sends.

    Else what is sent could come to whatever has the closed one's number by then.
    """

    def __init__(self, handle: int) -> None:
        super().__init__(handle)
        self._sending = threading.Lock()

    def send_bytes(self, *arguments: Any, **named: Any) -> None:
        with self._sending:
            super().send_bytes(*arguments, **named)

    def close(self) -> None:
        with self._sending:
            super().close()


class DecodingProcess:
    """One process, started at once, that does one task at a time.

    Args:
        recipe: what it has to know.
    """

    def __init__(self, recipe: ServedRecipe) -> None:
        here, there = _SERVER.Pipe()
        self._here = _Line(os.dup(here.fileno()))
        here.close()
        _SERVER.set_forkserver_preload([serve_tasks.__module__])
        self._process = _SERVER.Process(target=serve_tasks, args=(there, recipe), daemon=True)
        self._process.start()
        there.close()
        self._ready = self._last = False
        self._how: str | None = None

    @property
    def pid(self) -> int | None:
        """Its number."""
        return self._process.pid

    @property
    def usable(self) -> bool:
        """Whether it takes another task."""
        return not self._last and self._how is None and self._process.is_alive()

    def wait(self, stop: threading.Event) -> None:
        """Until it is ready; raises as ``run`` does."""
        if not self._ready:
            self._hear(time.monotonic() + _START, stop)
            self._ready = True

    def run(
        self, task: Mapping[str, Any], seconds: float, heard: Heard, stop: threading.Event
    ) -> Any:
        """Have it do a task.

        Args:
            task: for ``child.serve_tasks``.
            seconds: that it may take.
            heard: gets all that it says until it is done, and its connection.
            stop: ends it early.

        Raises:
            StatusError: the file is at fault.
            EOFError, OSError, InputError, ValueError: the process is of no use any more.
            TimeoutError: it took too long.
            InterruptedError: it was stopped.
        """
        self.wait(stop)
        end = time.monotonic() + seconds
        tell(self._here, task)
        while True:
            said = self._hear(end, stop)
            self._last = bool(said.get("last"))
            if "done" in said:
                return said["done"]
            if "status" in said:
                raise StatusError(int(said["status"]), str(said["reason"]))
            heard(said, self._here)
            # Not only where it is silent: one that says a lot could go on for ever.
            if stop.is_set():
                raise InterruptedError
            if time.monotonic() > end:
                raise TimeoutError

    def _hear(self, end: float, stop: threading.Event) -> Said:
        while not self._here.poll(min(0.25, max(0.0, end - time.monotonic()))):
            if stop.is_set():
                raise InterruptedError
            if time.monotonic() > end:
                raise TimeoutError
        return hear(self._here)

    def end(self) -> str:
        """End it, if it hasn't ended by itself; says how it did."""
        if self._how is not None:
            return self._how
        with contextlib.suppress(OSError):
            self._here.close()
        self._process.join(_LAST_WORDS)
        code = self._process.exitcode
        if code is None:
            self._process.kill()
            self._process.join(_ENDING)
            self._how = "it had to be ended"
        else:
            self._how = f"signal {-code}" if code < 0 else f"exit code {code}"
        with contextlib.suppress(ValueError):  # not even a kill has ended it yet
            self._process.close()
        return self._how


class DecodingPool:
    """So many processes at most, which are started when they are needed and kept.

    Args:
        recipe: what they have to know.
        most: of them.
    """

    def __init__(self, recipe: ServedRecipe, most: int) -> None:
        self._recipe, self.most = recipe, most
        self._free: queue.LifoQueue[DecodingProcess | None] = queue.LifoQueue()
        for _ in range(most):
            self._free.put(None)  # stands for one that isn't started yet
        self._ending = threading.Event()
        self.died = 0

    def start(self) -> None:
        """Have one ready ahead of need."""
        process = self._free.get()
        try:
            process = process or DecodingProcess(self._recipe)
            process.wait(self._ending)
        finally:
            self._free.put(process)

    def _ready(self, process: DecodingProcess | None, stop: threading.Event) -> DecodingProcess:
        """One that takes a task: the given one, or a new one."""
        try:
            process = process or DecodingProcess(self._recipe)
            process.wait(stop)
            if stop.is_set():
                raise InterruptedError
        except InterruptedError:
            if process is not None:
                process.end()
            raise
        except (TimeoutError, EOFError, OSError, InputError) as error:
            how = process.end() if process is not None else one_line(error)
            raise StatusError(503, f"the server can't start a decoding process: {how}") from None
        return process

    def run(
        self,
        task: Mapping[str, Any],
        seconds: float,
        heard: Heard = lambda said, connection: None,
        stop: threading.Event | None = None,
    ) -> Any:
        """Have a process do a task, in the caller's thread.

        Raises:
            StatusError: the file is at fault: a process that dies or hangs is its fault, too.
            InterruptedError: it was stopped.
        """
        process = self._free.get()
        if process is not None and not process.usable:
            process.end()
            process = None
        whole = False
        try:
            if self._ending.is_set():
                raise StatusError(503, "the server is shutting down")
            process = self._ready(process, stop or self._ending)
            done = process.run(task, seconds, heard, stop or self._ending)
            whole = True
            return done
        except StatusError:
            whole = True
            raise
        except InterruptedError:
            raise
        except TimeoutError:
            raise StatusError(422, f"decoding took longer than {seconds:g} seconds") from None
        except (EOFError, OSError, InputError, ValueError):
            how = process.end() if process is not None else ""
            raise StatusError(422, f"decoding the video ended its process: {how}") from None
        finally:
            if not whole and process is not None:
                self.died += 1
                process.end()
                process = None
            self._free.put(process)

    def close(self) -> None:
        """End all processes; tasks that run are stopped."""
        self._ending.set()
        for _ in range(self.most):
            process = self._free.get()
            if process is not None:
                process.end()
        for _ in range(self.most):
            self._free.put(None)
