"""``python -m peclip_fast.train``: train a model and report how well it does."""

from __future__ import annotations

import functools
import sys
from collections.abc import Sequence
from pathlib import Path

from peclip_fast.commands.clips import open_clips
from peclip_fast.commands.running import run_command
from peclip_fast.config.layers import config_layers, config_title, read_yaml
from peclip_fast.config.parser import add_config_option, make_parser, read_arguments, resolve
from peclip_fast.config.run import FREE_TO_CHANGE, RunConfig, differences
from peclip_fast.engine.distributed import World, process_group, set_up
from peclip_fast.engine.run import train_run
from peclip_fast.engine.run_folder import RunFolder
from peclip_fast.errors import InputError
from peclip_fast.files import check_writable

DEFAULT = "demo"
DESCRIPTION = """Train a model on a dataset and report how well it does on the test split.
Without arguments it runs the built-in demo. The run folder gets config.yaml, checkpoints/,
metrics.csv, curves.png, tensorboard/, model/, report.json, confusion.png and predictions.csv. An
option's default is what is shown here, unless the configuration says something else."""


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    return run_command(_train, argv)


def _train(argv: list[str]) -> None:
    config, run = _read(argv)
    world = World.from_environment()
    device = set_up(config.train, world)
    with process_group(world, device):
        splits = open_clips(config, world)
        report = train_run(config, splits, run, device, world, functools.partial(print, flush=True))
    if world.first:
        print(f"\n{report.as_table()}\n\nwritten to {run.path}")


def _read(argv: list[str]) -> tuple[RunConfig, RunFolder]:
    """The configuration and the run folder, both checked; nothing is written."""
    parser = make_parser("train", DESCRIPTION, "[--config NAME ...] [--data.root FOLDER] [options]")
    add_config_option(parser)
    parser.add_argument(
        "--output", type=str, help="the run folder; runs/NAME of the configuration unless given"
    )
    parser.add_argument(
        "--resume", action="store_true", help="go on with the run in the run folder"
    )
    arguments = read_arguments(parser, argv)
    names = arguments.config or [DEFAULT]
    run = RunFolder(Path(arguments.output or Path("runs") / config_title(names)))
    saved = []
    if arguments.resume and run.exists:
        check_writable(run.path)
        saved = [(str(run.config), read_yaml(run.config))]
    elif World.from_environment().first:
        run.check_new()
        if arguments.resume:
            print(f"{run.path}: no run to go on with; starting one", file=sys.stderr)
    layers = list(saved)
    if arguments.config or not saved:
        layers += config_layers(names)
    config = resolve(parser, argv, layers)
    if saved:
        former = resolve(make_parser("train", "", ""), [], saved)
        changed = [d for d in differences(former, config) if d.key not in FREE_TO_CHANGE]
        if changed:
            raise InputError(f"{run.path}: started with {'; '.join(map(str, changed[:4]))}")
    return config, run


if __name__ == "__main__":
    sys.exit(main())
