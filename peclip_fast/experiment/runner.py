"""Training runs as processes of their own, several at once."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch.distributed as dist

from peclip_fast.engine.distributed import without_launcher
from peclip_fast.experiment.cell_folder import CellFolder, Result

_PAUSE = 0.2  # seconds between looks at the processes
_LAST_LINES = 2000  # bytes of a log in which the reason of a failure is looked for


@dataclass(frozen=True)
class Event:
    """Something that happened to a cell.

    Args:
        cell: which.
        kind: "found" (it had ended before), "started", "elsewhere" (another process is at it),
            "done" or "failed".
        result: of a cell that has ended well.
        reason: of a failure, in a line.
    """

    cell: CellFolder
    kind: str
    result: Result | None = None
    reason: str = ""


class Ended:
    """Which runs have ended under this command, on whatever host, and why if they failed.

    A folder that hosts share may show a file of another host only after seconds.
    """

    def __init__(self, store: dist.Store | None = None) -> None:
        self._store = store or dist.HashStore()

    def tell(self, event: Event) -> None:
        """Let all hosts know how a run came out here."""
        self._store.set(self._key(event.cell), event.reason)

    def reason(self, cell: CellFolder) -> str | None:
        """Of the failure of a run; empty for one that has ended well, None for one that hasn't."""
        key = self._key(cell)
        return self._store.get(key).decode() if self._store.check([key]) else None

    @staticmethod
    def _key(cell: CellFolder) -> str:
        return f"ended/{cell.cell.name}"


def run_cells(
    cells: Sequence[CellFolder],
    places: Sequence[Mapping[str, str]],
    processes: int = 1,
    tell: Callable[[Event], None] = lambda event: None,
    store: dist.Store | None = None,
) -> list[Event]:
    """Run those cells that have not ended, and return how each of them came out.

    A cell that was stopped goes on from its checkpoint. One that another process is running is
    waited for, here or on another host, and taken over if that dies.

    Args:
        cells: each once.
        places: environment variables of the runs, as many runs at once as there are places.
        processes: of each run, by torchrun if more than one.
        tell: is called with every event.
        store: of all hosts that do this together.
    """
    outcomes: list[Event] = []
    ended = Ended(store)

    def end(event: Event) -> None:
        outcomes.append(event)
        tell(event)

    waiting, running = list(cells), list[_Run]()
    free = list(places)
    elsewhere: set[str] = set()
    try:
        while waiting or running:
            for run in [run for run in running if run.ended]:
                running.remove(run)
                free.append(run.place)
                outcome = run.outcome()
                ended.tell(outcome)
                end(outcome)
            for cell in waiting[:]:
                name, result = cell.cell.name, cell.result()
                reason, started = ended.reason(cell), None
                if result is not None:
                    known = name in elsewhere or reason is not None
                    end(Event(cell, "done" if known else "found", result))
                elif reason:
                    end(Event(cell, "failed", reason=reason))
                elif reason is None and free:
                    started = _Run.start(cell, free[0], processes, ended)
                    if started is not None:
                        running.append(started)
                        free.pop(0)
                        tell(Event(cell, "started"))
                    elif name not in elsewhere:
                        elsewhere.add(name)
                        tell(Event(cell, "elsewhere"))
                if result is not None or started is not None or reason:
                    waiting.remove(cell)
            time.sleep(_PAUSE if waiting or running else 0)
    finally:
        for run in running:
            run.stop()
    return outcomes


def command(cell: CellFolder, processes: int) -> list[str]:
    """What is run for a cell."""
    module = ["peclip_fast.train"]
    if processes > 1:
        shared = ["--standalone", "--nproc-per-node", str(processes)]
        module = ["torch.distributed.run", *shared, "-m", *module]
    options = ["--config", str(cell.config), "--output", str(cell.run.path), "--resume"]
    return [sys.executable, "-m", *module, *options]


@dataclass
class _Run:
    cell: CellFolder
    place: Mapping[str, str]
    process: subprocess.Popen[bytes]

    @classmethod
    def start(
        cls, cell: CellFolder, place: Mapping[str, str], processes: int, ended: Ended
    ) -> _Run | None:
        """None while another process holds the cell, or if one has just ended it."""
        cell.root.mkdir(parents=True, exist_ok=True)
        with cell.lock() as lock:
            if lock is None or cell.result() is not None or ended.reason(cell) is not None:
                return None
            cell.write_config()
            with cell.log.open("ab") as log:
                process = subprocess.Popen(
                    command(cell, processes),
                    env={**without_launcher(os.environ), **place},
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    pass_fds=[lock],
                )
        return cls(cell, place, process)

    @property
    def ended(self) -> bool:
        return self.process.poll() is not None

    def outcome(self) -> Event:
        result = self.cell.result()
        if self.process.returncode == 0 and result is not None:
            return Event(self.cell, "done", result)
        return Event(self.cell, "failed", reason=self._reason())

    def _reason(self) -> str:
        code = self.process.returncode
        tail = self.cell.log.read_bytes()[-_LAST_LINES:].decode(errors="replace")
        lines = [line for line in tail.splitlines() if line.strip()]
        how = f"signal {-code}" if code < 0 else f"exit code {code}"
        return f"{how}: {lines[-1].strip() if lines else 'nothing printed'}"

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait()
