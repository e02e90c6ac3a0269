"""``peclip-fast train``: train a model and report how good it is."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from peclip_fast.commands.options import CommandLine, run_layers
from peclip_fast.commands.running import run_command
from peclip_fast.config.layers import config_layers, config_title
from peclip_fast.config.parser import resolve
from peclip_fast.config.run import FREE_TO_CHANGE, RunConfig, differences
from peclip_fast.engine.run_folder import RunFolder
from peclip_fast.errors import InputError
from peclip_fast.files import check_writable, write_bytes, write_text

if TYPE_CHECKING:
    import torch

    from peclip_fast.data.records import DatasetSplits
    from peclip_fast.engine.distributed import World
    from peclip_fast.models.adapted_clip import AdaptedCLIP

DEFAULT = "demo"
DESCRIPTION = """Train a model on a dataset and report how good it is on the test split. Without
arguments it runs the built-in demo. The run folder gets config.yaml, checkpoints/, metrics.csv,
curves.png, tensorboard/, model/, report.json, confusion.png and predictions.csv. An option's
default is what is shown here, unless the configuration says something else."""


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    return run_command(_train, argv)


def _train(argv: list[str]) -> None:
    config, run = _read(argv)

    import torch

    from peclip_fast.data.splits import open_splits
    from peclip_fast.engine.distributed import World, gather, process_group, set_up
    from peclip_fast.engine.evaluation import predict
    from peclip_fast.engine.report import Report, facts, protocol
    from peclip_fast.engine.trainer import train
    from peclip_fast.models.pretrained import create_model
    from peclip_fast.plots.curves import curves_png, read_history

    world = World.from_environment()
    device = set_up(config.train, world)
    with process_group(world, device):
        splits = open_splits(config.data)
        for name, clips in (("training", splits.train), ("test", splits.test)):
            if not clips:
                raise InputError(f"{config.data.dataset}: no {name} clips")
        torch.manual_seed(config.train.seed)
        model = create_model(classes=splits.classes, **vars(config.model))
        model.recompute(config.train.recompute)
        world.share(config.train.batch_size)
        if world.first:
            _open_run(run, config)
            print(_summary(config, splits, model, run, device, world), flush=True)
        gather(None)  # nobody reads the run folder before it is there
        try:
            trained = train(model, splits, config, run, device, world)
            predictions = predict(model, splits.test, config, device, world)
        except InputError:
            if world.first and not run.last.exists():
                run.discard()  # nothing was learned yet; a corrected command finds its place free
            raise
        if world.first:
            model.save_pretrained(run.model)
            report = Report(
                config,
                splits.test,
                predictions,
                splits.classes,
                protocol(config, run),
                facts(model, device, world.size)
                | {
                    "training_clips": len(splits.train),
                    "skipped_training_clips": trained.skipped,
                },
            )
            write_bytes(run.curves, curves_png(read_history(run.metrics), config.title))
            report.write(run.path)  # its last file says that the run has ended
            print(f"\n{report.as_table()}\n\nwritten to {run.path}")


def _read(argv: list[str]) -> tuple[RunConfig, RunFolder]:
    """The configuration and the run folder, both checked; nothing is written."""
    line = CommandLine("train", DESCRIPTION, "[--config NAME ...] [--data.root FOLDER] [options]")
    line.add_config()
    line.add("--output", metavar="FOLDER",
             help="the run folder; runs/NAME of the configuration unless given")  # fmt: skip
    line.add("--resume", action="store_true", help="go on with the run in the run folder")
    given = line.read(argv)
    own = given.own
    names = own.config or [DEFAULT]
    run = RunFolder(Path(own.output or Path("runs") / config_title(names)))
    layers = run_layers(run) if own.resume and run.exists else []
    saved = layers[:]
    if saved:
        check_writable(run.path)
    elif os.environ.get("RANK", "0") == "0":
        run.check_new()
        if own.resume:
            print(f"{run.path}: no run to go on with; starting one", file=sys.stderr)
    if own.config or not saved:
        layers += config_layers(names)
    config = given.resolve(layers)
    if saved:
        former = resolve(saved)
        changed = [d for d in differences(former, config) if d.key not in FREE_TO_CHANGE]
        if changed:
            raise InputError(f"{run.path}: started with {'; '.join(map(str, changed[:4]))}")
    return config, run


def _open_run(run: RunFolder, config: RunConfig) -> None:
    run.path.mkdir(parents=True, exist_ok=True)
    run.clear_partial()
    if not run.exists:  # the first file, so that a kill leaves either a run or an empty folder
        write_text(run.config, config.to_yaml())
    run.last.parent.mkdir(exist_ok=True)


def _summary(
    config: RunConfig,
    splits: DatasetSplits,
    model: AdaptedCLIP,
    run: RunFolder,
    device: torch.device,
    world: World,
) -> str:
    from peclip_fast.data.shots import described
    from peclip_fast.models.backbone import backbone_folder

    trained = sum(p.numel() for p in model.trained_parameters().values())
    going_on = " (resumed)" if run.last.exists() else ""
    lines = [
        config.title,
        f"{len(splits.train)} training and {len(splits.test)} test clips of "
        f"{len(splits.classes)} classes",
        *([described(splits, config.data)] if config.data.shots else []),
        f"{model.title} on {config.model.backbone}: {trained:,} trained parameters",
        f"{device.type}, {config.train.precision}, {world.size} process"
        f"{'es' if world.size > 1 else ''}, run folder {run.path}{going_on}",
    ]
    if config.model.pretrained is None and backbone_folder(config.model.backbone) is None:
        lines.append("warning: model.pretrained is not set: the frozen backbone is random")
    return "\n".join(lines)
