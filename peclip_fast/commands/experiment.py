"""``peclip-fast experiment NAME``: a table of the paper, made again."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from peclip_fast.commands.shared.options import CommandLine
from peclip_fast.commands.shared.running import run_command
from peclip_fast.config.layers import config_layers
from peclip_fast.experiment.plan import EXPERIMENTS, find, plan
from peclip_fast.files import check_writable

DESCRIPTION = f"""Train every row of published tables and report it next to the published numbers.
Experiments: {", ".join(EXPERIMENTS)}. The output folder gets runs/, with a run folder for each
training, and for each experiment a folder with report.md, report.html and report.json, written anew
whenever a run has ended. A run that has ended is never run again, a run that was stopped goes on.
Under torchrun, one process a host, the hosts share the runs in a folder that all of them see.
Options of training hold for every run; those of a row go over the configurations."""


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    return run_command(_experiment, argv)


def _experiment(argv: list[str]) -> int:
    line = CommandLine(
        "experiment", DESCRIPTION, "NAME [NAME ...] [options]", ("data.*", "train.*")
    )
    line.add("names", nargs="+", metavar="NAME", help="experiments")
    line.add_config()
    line.add("--output", metavar="FOLDER", default="runs/experiments", help="the output folder")
    line.add("--seeds", nargs="+", type=int, help="in place of the experiment's")
    line.add("--folds", nargs="+", type=int, help="in place of the experiment's")
    line.add("--devices", nargs="+", type=int, help="GPUs by number; all unless given")
    line.add("--jobs", type=int, help="runs at once on a device; 1 on a GPU, on CPUs one per "
             "train.threads cores")  # fmt: skip
    line.add("--processes", type=int, default=1, help="of each run, by torchrun")
    given = line.read(argv)
    options, folder = given.own, Path(given.own.output)
    check_writable(folder)
    over = config_layers(options.config)
    plans = [
        plan(find(name), given.resolve, over, options.folds or (), options.seeds or ())
        for name in dict.fromkeys(options.names)
    ]

    from peclip_fast.engine.distributed import World
    from peclip_fast.experiment.run import run_experiments

    failed = run_experiments(plans, folder, options.devices or (), options.jobs, options.processes)
    for one in plans if World.from_environment().first else ():
        print(folder / one.experiment.name / "report.html")
    return 1 if failed else 0
