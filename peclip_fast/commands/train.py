"""``peclip-fast train``: train a model and report how good it is."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from peclip_fast.commands.shared.options import CommandLine
from peclip_fast.commands.shared.running import run_command
from peclip_fast.config.layers import config_layers, config_title
from peclip_fast.config.parser import as_one
from peclip_fast.config.run import RunConfig
from peclip_fast.engine.run_folder import RunFolder
from peclip_fast.files import check_writable
from peclip_fast.locks import check_unlocked

DEFAULT = "demo"
DESCRIPTION = """Train a model on a dataset and report how good it is on the test split. Without
arguments it runs the built-in demo. The run folder gets config.yaml, checkpoints/, metrics.csv,
curves.png, tensorboard/, model/, report.json, confusion.png, predictions.csv and, where the extra
faces is installed, crop.json: how the clips show a face. An option's default is what is shown here,
unless the configuration says something else."""


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    return run_command(_train, argv)


def _train(argv: list[str]) -> None:
    config, run = _read(argv)

    from peclip_fast.data.splits import open_splits
    from peclip_fast.engine.distributed import World, process_group, set_up
    from peclip_fast.engine.run import train_run

    world = World.from_environment()
    device = set_up(config.train, world)
    with process_group(world, device):
        splits = open_splits(config.data)
        tell = functools.partial(print, flush=True)
        note = functools.partial(_note_crop, config)
        report = train_run(config, splits, run, device, world, tell, note)
    if world.first:
        print(f"\n{report.as_table()}\n\nwritten to {run.path}")


def _note_crop(config: RunConfig, run: RunFolder) -> None:
    """Keep how the training clips show a face, for clips that are to be like them."""
    from peclip_fast.analyze.crop_of_run import installed, known_crop

    if installed():
        from peclip_fast.faces.finder import FaceFinder

        known_crop(run, config, FaceFinder())


def _read(argv: list[str]) -> tuple[RunConfig, RunFolder]:
    """The configuration and the run folder, both checked; nothing is written."""
    line = CommandLine("train", DESCRIPTION, "[--config NAME ...] [--data.root FOLDER] [options]")
    line.add_config()
    line.add("--output", metavar="FOLDER",
             help="the run folder; runs/NAME of the configuration unless given")  # fmt: skip
    line.add("--resume", action="store_true", help="go on with the run in the run folder")
    given = line.read(argv)
    own = given.own
    # A launcher's restart is of the same command, and the run is there by now.
    resume = own.resume or int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")) > 0
    names = own.config or [DEFAULT]
    run = RunFolder(Path(own.output or Path("runs") / config_title(names)))
    layers = run.layers() if resume and run.exists else []
    saved = layers[:]
    if saved:
        check_writable(run.path)
        check_unlocked(run.path)
    elif os.environ.get("RANK", "0") == "0":
        run.check_new()
        if resume:
            print(f"{run.path}: no run to go on with; starting one", file=sys.stderr)
    if own.config or not saved:
        layers.append(as_one(config_layers(names)))
    config = given.resolve(layers)
    if saved:
        run.check_going_on(config)
    return config, run
