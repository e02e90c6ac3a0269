"""A tiny training in a process of its own, which something can happen to."""

from __future__ import annotations

import multiprocessing
import os
import resource
import signal
import socket
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, NamedTuple

from helpers.tiny_runs import write_config

from peclip_fast.commands.main import script
from peclip_fast.engine.run_folder import RunFolder

PATIENCE = 120.0  # seconds for a whole run
# Imported once, by the process that all trainings are forked from.
PRELOADED = ["faults.training", "peclip_fast.commands.train", "peclip_fast.engine.run"]
_FORKED = multiprocessing.get_context("forkserver")
_FORKED.set_forkserver_preload(PRELOADED)
_CHANGES = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate"}


class Ended(NamedTuple):
    """How a training ended.

    Args:
        code: of the exit; minus a signal's number.
        said: lines on standard error.
        seconds: from its start; None if it had to be killed for lack of patience.
    """

    code: int | None
    said: list[str]
    seconds: float | None


class Training:
    """Trainings of one configuration into one run folder.

    Args:
        folder: for the configuration, what is said, and the run.
        backbone: the model's.
        clips: the dataset's folder.
        train: options of the configuration.
        run: its run folder; one in ``folder`` unless given.
    """

    def __init__(
        self,
        folder: Path,
        backbone: Path,
        clips: Path,
        train: Mapping[str, Any],
        run: Path | None = None,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.run = folder, RunFolder(run or folder / "run")
        config = write_config(folder / "c.yaml", str(backbone), clips, **train)
        self.argv = ["--config", str(config)]
        self.started: list[Started] = []

    def start(self, *options: str, happens: Mapping[str, Any] | None = None, **env: str) -> Started:
        """Start or go on.

        Args:
            options: further ones of the command.
            happens: arguments of ``prepared``.
            env: environment variables.
        """
        argv = ["train", *self.argv, "--output", str(self.run.path), "--resume", *options]
        self.started.append(Started(argv, self.folder / f"{len(self.started)}.err", happens, env))
        return self.started[-1]

    def run_to_end(self, *options: str, happens: Mapping[str, Any] | None = None) -> Ended:
        """Start or go on, and wait."""
        return self.start(*options, happens=happens).wait()

    def start_two(self, *options: str) -> list[Started]:
        """Start or go on in two processes, without torchrun, which would end one with the other."""
        with socket.socket() as free:
            free.bind(("localhost", 0))
            port = str(free.getsockname()[1])
        shared = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "localhost"}
        shared["MASTER_PORT"] = port
        return [self.start(*options, RANK=r, LOCAL_RANK=r, **shared) for r in ("0", "1")]


class Started:
    """A training under way."""

    def __init__(
        self,
        argv: list[str],
        errors: Path,
        happens: Mapping[str, Any] | None,
        env: Mapping[str, str],
    ) -> None:
        self.errors, self.begin = errors, time.monotonic()
        errors.unlink(missing_ok=True)
        self.process: BaseProcess = _FORKED.Process(
            target=_train, args=(argv, errors, dict(happens or {}), dict(env))
        )
        self.process.start()

    def begun(self) -> bool:
        """Wait until the command itself begins; False if it has ended before."""
        while not self.errors.exists() and self.process.is_alive():
            time.sleep(0.005)
        return self.process.is_alive()

    def kill(self, number: int = signal.SIGKILL) -> None:
        """Send it a signal, unless it has ended."""
        if self.process.pid is not None and self.process.is_alive():
            with suppress(ProcessLookupError):
                os.kill(self.process.pid, number)

    def workers(self) -> list[int]:
        """Its child processes."""
        found = []
        for stat in Path("/proc").glob("[0-9]*/stat"):
            with suppress(OSError):
                text = stat.read_text()
                if int(text.rpartition(")")[2].split()[1]) == self.process.pid:
                    found.append(int(stat.parent.name))
        return found

    def wait(self, seconds: float = PATIENCE) -> Ended:
        """How it ends; no process of it is left then."""
        self.process.join(seconds)
        late = self.process.is_alive()
        if late:
            self.process.kill()
            self.process.join()
        took = time.monotonic() - self.begin
        said = self.errors.read_text(errors="replace") if self.errors.exists() else ""
        lines = [line for line in said.splitlines() if not line.endswith("; starting one")]
        return Ended(self.process.exitcode, lines, None if late else took)

    def left(self) -> list[int]:
        """Processes of its session that are still there, after some seconds to end."""
        deadline = time.monotonic() + 10
        while (found := self._session()) and time.monotonic() < deadline:
            time.sleep(0.1)
        return found

    def _session(self) -> list[int]:
        found = []
        for stat in Path("/proc").glob("[0-9]*/stat"):
            with suppress(OSError):
                state, _, _, session = stat.read_text().rpartition(")")[2].split()[:4]
                if int(session) == self.process.pid and state != "Z":
                    found.append(int(stat.parent.name))
        return found


def _train(argv: list[str], errors: Path, happens: dict[str, Any], env: dict[str, str]) -> None:
    """What the process does."""
    multiprocessing.set_start_method("fork", force=True)  # as in a process that nobody forked
    os.setsid()  # its workers' process groups are of this session too
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number, path in ((1, os.devnull), (2, str(errors))):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND), number)
    os.environ.update(env)
    prepared(**happens)
    script(argv)


def prepared(
    kill_at: int | None = None,
    folder: str = "",
    count_in: str | None = None,
    largest: int | None = None,
) -> None:
    """Put in its place what is going to happen to this process.

    Args:
        kill_at: SIGKILL before this change of a file in the folder, counted from 1.
        folder: the run's.
        count_in: a file that gets the number of changes at the end of the process's work.
        largest: bytes, beyond which no file can be written.
    """
    if largest is not None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest, largest))
    if kill_at is None and count_in is None:
        return
    seen = 0

    def changed() -> None:
        nonlocal seen
        seen += 1
        if seen == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)
        if count_in is not None:
            counting = os.open(count_in, os.O_WRONLY | os.O_CREAT)
            os.pwrite(counting, str(seen).encode(), 0)
            os.close(counting)

    def heard(event: str, arguments: tuple[Any, ...]) -> None:
        writes = event == "open" and arguments[2] & (os.O_WRONLY | os.O_RDWR)
        if (writes or event in _CHANGES) and str(arguments[0]).startswith(folder):
            changed()

    def synced(descriptor: Any) -> None:
        changed()
        sync(descriptor)

    sync, os.fsync = os.fsync, synced
    sys.addaudithook(heard)
