"""``python -m peclip_fast.experiment NAME``: a table of the paper, made again."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from peclip_fast.commands.clips import open_clips
from peclip_fast.commands.running import run_command
from peclip_fast.config.layers import config_layers
from peclip_fast.config.parser import add_config_option, make_parser, read_arguments, resolve
from peclip_fast.config.run import RunConfig
from peclip_fast.engine.distributed import World
from peclip_fast.errors import InputError
from peclip_fast.experiment.cell_folder import CellFolder, Result
from peclip_fast.experiment.plan import EXPERIMENTS, Layers, Plan, find, plan
from peclip_fast.experiment.report import Report
from peclip_fast.experiment.runner import Event, run_cells
from peclip_fast.files import check_writable

DESCRIPTION = f"""Train every row of published tables and report it beside the published numbers.
Experiments: {", ".join(EXPERIMENTS)}. The output folder gets runs/, with a run folder for each
training, and for each experiment a folder with report.md, report.html and report.json, written anew
whenever a run has ended. A run that has ended is never run again, a run that was stopped goes on.
Options of training hold for every run; those of a row go over the configurations."""


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    return run_command(_experiment, argv)


def _experiment(argv: list[str]) -> int:
    parser = _parser()
    options = read_arguments(parser, argv)
    folder = Path(options.output)
    check_writable(folder)
    over = config_layers(options.config or [])

    def resolved(layers: Layers) -> RunConfig:
        return resolve(_parser(), argv, layers)

    plans = [
        plan(find(name), resolved, over, options.folds or (), options.seeds or ())
        for name in dict.fromkeys(options.names)
    ]
    cells = _cells(plans, folder / "runs")
    _check_clips(cells)
    places = _places(cells[0].cell.config, options)
    teller = _Teller(plans, folder, len(cells))
    run_cells(cells, places, options.processes, teller.tell)
    teller.write()
    for one in plans:
        print(folder / one.experiment.name / "report.html")
    return 1 if teller.failures else 0


def _parser() -> Any:
    parser = make_parser("experiment", DESCRIPTION, "NAME [NAME ...] [options]")
    parser.add_argument("names", nargs="+", type=str, metavar="NAME", help="experiments")
    add_config_option(parser)
    parser.add_argument("--output", type=str, default="runs/experiments", help="the output folder")
    parser.add_argument("--seeds", nargs="+", type=int, help="in place of the experiment's")
    parser.add_argument("--folds", nargs="+", type=int, help="in place of the experiment's")
    parser.add_argument("--devices", nargs="+", type=int, help="GPUs by number; all unless given")
    parser.add_argument(
        "--jobs",
        type=int,
        help="runs at once on a device; 1 on a GPU, on CPUs one per train.threads cores",
    )
    parser.add_argument("--processes", type=int, default=1, help="of each run, by torchrun")
    return parser


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
            open_clips(one.cell.config, World(0, 1, 0, 1))


def _places(config: RunConfig, options: Any) -> list[dict[str, str]]:
    """The environment of each run that may be at work at once."""
    for name in ("jobs", "processes"):
        if getattr(options, name) is not None and getattr(options, name) < 1:
            raise InputError(f"--{name} {getattr(options, name)}: expected at least 1")
    gpus = 0 if config.train.device == "cpu" else torch.cuda.device_count()
    devices = options.devices or list(range(gpus))
    for number in devices:
        if not 0 <= number < gpus:
            raise InputError(f"--devices {number}: there are {gpus} GPUs, numbered from 0")
    if not gpus:
        cores, threads = len(os.sched_getaffinity(0)), config.train.threads
        fitting = cores // (threads * options.processes) if threads else 1
        return [{}] * (options.jobs or max(1, fitting))
    size = options.processes
    if len(devices) < size:
        raise InputError(
            f"--processes {size}: expected at most as many as the GPUs, {len(devices)}"
        )
    groups = [devices[i : i + size] for i in range(0, len(devices) - size + 1, size)]
    visible = [{"CUDA_VISIBLE_DEVICES": ",".join(map(str, group))} for group in groups]
    return visible * (options.jobs or 1)


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
            print(f"{what}: another command is running it; waiting", flush=True)

    def write(self, changed: str | None = None) -> None:
        """The reports of the experiments, whole or not; of those with the changed run alone."""
        for one in self.plans:
            report = Report(one, self.results, self.failures)
            if changed is None or changed in report.names:
                report.write(self.folder / one.experiment.name)


if __name__ == "__main__":
    sys.exit(main())
