"""Runs experiments: all their cells, each once, and the reports."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from peclip_fast.config.run import RunConfig
from peclip_fast.data.splits import open_splits
from peclip_fast.engine.distributed import World, meet, naming_lost_peers
from peclip_fast.errors import InputError
from peclip_fast.experiment.cell_folder import CellFolder, Result
from peclip_fast.experiment.plan import Plan
from peclip_fast.experiment.report import ExperimentReport
from peclip_fast.experiment.runner import Event, run_cells
from peclip_fast.stopping import Stopped

GO_ON = "the same command goes on with its runs"


def run_experiments(
    plans: Sequence[Plan],
    folder: Path,
    devices: Sequence[int] = (),
    jobs: int | None = None,
    processes: int = 1,
) -> int:
    """Run what has not ended yet, keep the reports up to date, and return how many runs failed.

    Under a launcher such as torchrun all processes do it together, a run after the other as there
    is room; the first one speaks and writes the reports.

    Args:
        plans: the experiments.
        folder: of runs and reports.
        devices: GPUs by number; all of them unless given.
        jobs: runs at once on a device.
        processes: of each run.

    Raises:
        InputError: clips, devices or numbers can't be used.
        Stopped: by a signal, or as standard output was closed; the runs go on from checkpoints.
    """
    world = World.from_environment()
    cells = _cells(plans, folder / "runs")
    _check_clips(cells)
    places = _places(cells[0].cell.config, devices, jobs, processes, world)
    teller = _Teller(plans, folder, len(cells))
    try:
        with naming_lost_peers(GO_ON):
            store = meet(world) if world.size > 1 else None
            run_cells(cells, places, processes, teller.tell if world.first else _say_nothing, store)
    except BrokenPipeError:
        raise Stopped(signal.SIGPIPE, GO_ON) from None
    except Stopped as stopped:
        raise Stopped(stopped.number, GO_ON) from None
    if not world.first:
        return 0
    teller.write()
    return len(teller.failures)


def _say_nothing(event: Event) -> None:
    """What other than the first process tell."""


def _cells(plans: Sequence[Plan], folder: Path) -> list[CellFolder]:
    """Each run once, those of one fold and seed after those of the one before."""
    found = {c.name: c for one in plans for row in one.rows for c in row.cells}
    order = sorted(
        found.values(),
        key=lambda c: (c.config.train.seed, c.config.data.fold),  # a whole table first, then more
    )
    return [CellFolder(folder, cell) for cell in order]


def _check_clips(cells: Sequence[CellFolder]) -> None:
    """Find out now what can't be read, and draw the demo's clips once for all runs."""
    seen: list[object] = []
    for one in cells:
        data = one.cell.config.data
        if data not in seen:
            seen.append(data)
            open_splits(data)


def _places(
    config: RunConfig, wanted: Sequence[int], jobs: int | None, processes: int, world: World
) -> list[dict[str, str]]:
    """The environment of each run that may be at work at once, of this process.

    Processes on one host share its GPUs and cores.
    """
    for name, number in (("jobs", jobs), ("processes", processes)):
        if number is not None and number < 1:
            raise InputError(f"--{name} {number}: expected at least 1")
    gpus = 0 if config.train.device == "cpu" else torch.cuda.device_count()
    devices = list(wanted or range(gpus))
    for number in devices:
        if not 0 <= number < gpus:
            raise InputError(f"--devices {number}: there are {gpus} GPUs, numbered from 0")
    if not gpus:
        cores = len(os.sched_getaffinity(0)) // world.local_size
        threads = config.train.threads
        fitting = cores // (threads * processes) if threads else 1
        return [{}] * (jobs or max(1, fitting))
    size, devices = processes, devices[world.local_rank :: world.local_size]
    if len(devices) < size:
        raise InputError(
            f"--processes {size}: expected at most as many as the GPUs, {len(devices)}"
        )
    groups = [devices[i : i + size] for i in range(0, len(devices) - size + 1, size)]
    visible = [{"CUDA_VISIBLE_DEVICES": ",".join(map(str, group))} for group in groups]
    return visible * (jobs or 1)


class _Teller:
    """Says what happens, and keeps the reports up to date."""

    def __init__(self, plans: Sequence[Plan], folder: Path, number: int) -> None:
        self.plans = plans
        self.folder = folder
        self.number = number
        self.results: dict[str, Result] = {}
        self.failures: dict[str, str] = {}
        self.rows = {
            cell.name: row.published.config or one.experiment.recipe[0]
            for one in reversed(plans)
            for row in reversed(one.rows)
            for cell in row.cells
        }

    def tell(self, event: Event) -> None:
        name = event.cell.cell.name
        count = f"[{len(self.results) + len(self.failures) + (event.result is not None)}"
        what = f"{self.rows[name]}, {name}"
        if event.result is not None:
            self.results[name] = event.result
            r = event.result
            scores = f"UAR {r.uar:.2f} %, WAR {r.war:.2f} %, {r.seconds:.0f} s"
            before = " (had ended before)" if event.kind == "found" else ""
            print(f"{count}/{self.number}] {what}: {scores}{before}", flush=True)
            if event.kind == "done":
                self.write(name)
        elif event.kind == "failed":
            self.failures[name] = event.reason
            print(
                f"error: {what}: {event.reason}; see {event.cell.log}", file=sys.stderr, flush=True
            )
        elif event.kind == "elsewhere":
            print(f"{what}: another process is running it; waiting", flush=True)

    def write(self, changed: str | None = None) -> None:
        """The reports of the experiments, whole or not; of all, or of those with a changed run."""
        for one in self.plans:
            runs = self.folder / "runs"
            report = ExperimentReport(one, self.results, self.failures, runs)
            if changed is None or changed in report.names:
                report.write(self.folder / one.experiment.name)
