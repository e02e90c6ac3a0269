"""Programs in processes of their own whose imports were made once, by a process they are forks of.

What a test is about then takes a second in place of five. That the programs also start from nothing
is what the tests with ``subprocess`` are for.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from multiprocessing.process import BaseProcess
from pathlib import Path
from subprocess import TimeoutExpired
from typing import Any

_FORKED = multiprocessing.get_context("forkserver")
_FORKED.set_forkserver_preload([
    "faults.training",
    "helpers.signalled",
    "peclip_fast._C",
    "peclip_fast.analyze.crop_of_run",
    "peclip_fast.commands.train",
    "peclip_fast.data.splits",
    "peclip_fast.engine.run",
    "peclip_fast.engine.trainer",
    "peclip_fast.faces.training",
    "peclip_fast.models.methods.pe_clip",
    "scipy.stats",
    "tensorboard",
])  # fmt: skip


class Forked:
    """A function in a process and a session of its own; used like ``subprocess.Popen``.

    Args:
        target: what it does; of a module that can be imported.
        args: its arguments.
        env: environment variables, over this process's.
        output: file of its standard output; none is kept unless given.
        errors: file of its standard error, which is made just before it begins.
    """

    def __init__(
        self,
        target: Callable[..., object],
        *args: Any,
        errors: Path,
        output: Path | None = None,
        env: Mapping[str, str] | None = None,
    ) -> None:
        self.output, self.errors = output, errors
        errors.unlink(missing_ok=True)
        files = str(output or os.devnull), str(errors)
        self.process: BaseProcess = _FORKED.Process(
            target=_begin, args=(target, args, files, os.environ | dict(env or {}))
        )
        self.process.start()
        assert self.process.pid is not None
        self.pid: int = self.process.pid

    @property
    def returncode(self) -> int | None:
        """Of its exit, or minus the number of a signal; None before."""
        return self.process.exitcode

    def poll(self) -> int | None:
        """``returncode``."""
        return self.returncode

    def kill(self, number: int = signal.SIGKILL) -> None:
        """Send it a signal, unless it has ended."""
        if self.returncode is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def wait(self, timeout: float | None = None) -> int | None:
        """Its end; TimeoutExpired if that doesn't come."""
        self.process.join(timeout)
        if self.returncode is None:
            raise TimeoutExpired("a fork", timeout or 0.0)
        return self.returncode

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        """What it has said in its life."""
        self.wait(timeout)
        return self.said(self.output), self.said(self.errors)

    @staticmethod
    def said(file: Path | None) -> str:
        """What is in one of its files."""
        return file.read_text(errors="replace") if file is not None and file.exists() else ""

    def children(self) -> list[int]:
        """Its child processes."""
        return [pid for pid, state, parent, _ in _processes() if parent == self.pid]

    def left(self) -> list[int]:
        """``session`` of this one."""
        return session(self.pid)


def session(pid: int) -> list[int]:
    """Processes of a process's session that are still there, after some seconds to end."""
    deadline = time.monotonic() + 10
    while (found := _session(pid)) and time.monotonic() < deadline:
        time.sleep(0.1)
    return found


def _session(pid: int) -> list[int]:
    return [number for number, state, _, of in _processes() if of == pid and state != "Z"]


def _processes() -> list[tuple[int, str, int, int]]:
    """Number, state, parent and session of all."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            state, parent, _, session = stat.read_text().rpartition(")")[2].split()[:4]
            found.append((int(stat.parent.name), state, int(parent), int(session)))
    return found


def _begin(
    target: Callable[..., object],
    args: tuple[Any, ...],
    files: tuple[str, str],
    env: Mapping[str, str],
) -> None:
    """What the process does."""
    multiprocessing.set_start_method("fork", force=True)  # as in a process that nobody forked
    os.setsid()  # its children's process groups are of this session too
    for number, usual in (
        (signal.SIGINT, signal.default_int_handler), (signal.SIGTERM, signal.SIG_DFL),
        (signal.SIGHUP, signal.SIG_DFL),
    ):  # fmt: skip
        signal.signal(number, usual)
    for descriptor, path in enumerate(files, 1):
        opened = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(opened, descriptor)
        os.close(opened)
    os.environ.clear()
    os.environ.update(env)
    target(*args)
