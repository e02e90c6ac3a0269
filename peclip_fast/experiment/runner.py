"""Training runs as processes of their own, several at once."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

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


def run_cells(
    cells: Sequence[CellFolder],
    places: Sequence[Mapping[str, str]],
    processes: int = 1,
    tell: Callable[[Event], None] = lambda event: None,
) -> list[Event]:
    """Run those cells that have not ended, and return how each of them came out.

    A cell that was stopped goes on from its checkpoint. One that another command is running is
    waited for.

    Args:
        cells: each once.
        places: environment variables of the runs, as many runs at once as there are places.
        processes: of each run, by torchrun if more than one.
        tell: is called with every event.
    """
    outcomes: list[Event] = []

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
                end(run.outcome())
            for cell in waiting[:]:
                name, result = cell.cell.name, cell.result()
                started = None
                if result is not None:
                    end(Event(cell, "done" if name in elsewhere else "found", result))
                elif free:
                    started = _Run.start(cell, free[0], processes)
                    if started is not None:
                        running.append(started)
                        free.pop(0)
                        tell(Event(cell, "started"))
                    elif name not in elsewhere:
                        elsewhere.add(name)
                        tell(Event(cell, "elsewhere"))
                if result is not None or started is not None:
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
    def start(cls, cell: CellFolder, place: Mapping[str, str], processes: int) -> _Run | None:
        """None while another process holds the cell."""
        cell.write_config()
        with cell.lock() as lock, cell.log.open("ab") as log:
            if lock is None or cell.result() is not None:
                return None
            process = subprocess.Popen(
                command(cell, processes),
                env={**os.environ, **place},
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
