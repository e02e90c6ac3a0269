"""Runs from Python: train one, test it again, or have it say what clips show."""

from __future__ import annotations

import shlex
import signal
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import asdict, replace
from typing import Any

import torch

from peclip_fast.config.run import Difference, RunConfig
from peclip_fast.data.records import DatasetSplits
from peclip_fast.data.shots import described
from peclip_fast.engine.distributed import World, gather, naming_lost_peers, set_up
from peclip_fast.engine.evaluation import predict
from peclip_fast.engine.kernels.choice import keep_in, settle_kernels
from peclip_fast.engine.kernels.decoder import settle_decoder
from peclip_fast.engine.kernels.graphs import settle_graphs, takes_graphs
from peclip_fast.engine.report import Report, facts, protocol, training_facts
from peclip_fast.engine.run_folder import RunFolder
from peclip_fast.engine.steps.memory import kept_memory
from peclip_fast.errors import InputError
from peclip_fast.files import write_bytes, write_text
from peclip_fast.hub.card import model_card
from peclip_fast.hub.facts import run_facts
from peclip_fast.locks import locked
from peclip_fast.models.adapted_clip import AdaptedCLIP
from peclip_fast.models.backbone import backbone_folder
from peclip_fast.models.pretrained import create_model, from_pretrained
from peclip_fast.ops.verdicts.verdict import Record
from peclip_fast.plots.curves import curves_png, read_history
from peclip_fast.stopping import Stopped, watch


def train_run(
    config: RunConfig,
    splits: DatasetSplits,
    run: RunFolder,
    device: torch.device | None = None,
    world: World | None = None,
    tell: Callable[[str], None] = print,
    begun: Callable[[RunFolder], None] = lambda run: None,
) -> Report:
    """Train a model, or go on where its run stands, test it and write all files of the run.

    Args:
        config: of the run; the same as before where one goes on.
        splits: the configuration's clips.
        run: its folder, which is made if it isn't there.
        device: the configuration's, as ``set_up`` gives it, unless given.
        world: the processes; those that torchrun started unless given.
        tell: gets, in the first process, the lines that say what is trained on what.
        begun: is called, in the first process, once the run folder is there.

    Raises:
        InputError: something that was given can't be used, or another process is at this run.
            Nothing is left of a new run.
        OSError: a file can't be written, or another process of the run has ended; the last
            checkpoint stays.
        Stopped: by a signal, which in a notebook is its button, or as standard output was closed;
            says how to go on.
    """
    world = world or World.from_environment()
    device = device or set_up(config.train, world)
    for name, clips in (("training", splits.train), ("test", splits.test)):
        if not clips:
            raise InputError(f"{config.data.dataset}: no {name} clips")
    kernels = settle_kernels(config, device, world, run, tell)
    torch.manual_seed(config.train.seed)
    model = create_model(classes=splits.classes, **vars(config.model))
    decoder = settle_decoder(config, splits.train, model.image_size, device, world, run, tell)
    about = splits.classes, model.image_size
    graphs = settle_graphs(config, *about, device, world, run, tell)
    for found in (decoder, graphs):
        if found is not None:
            kernels = (kernels or found).with_(found.verdicts)
    model.recompute(config.train.recompute)
    world.share(config.train.batch_size)
    advice = f"go on with it by {resume_command(run, world)}"
    with watch(), locked(run.path) if world.first else nullcontext():
        new = world.first and not run.exists
        try:
            with naming_lost_peers(advice):
                return _whole_run(model, config, splits, run, device, world, tell, begun, kernels)
        except BrokenPipeError:  # tell's
            raise Stopped(signal.SIGPIPE, advice) from None
        except ConnectionError:  # it goes on by the advice
            raise
        except Exception:
            if new and not run.begun:
                run.discard()  # nothing was learned yet; a corrected command finds its place free
            raise
        except Stopped as stopped:
            raise Stopped(stopped.number, advice) from None


def _whole_run(
    model: AdaptedCLIP,
    config: RunConfig,
    splits: DatasetSplits,
    run: RunFolder,
    device: torch.device,
    world: World,
    tell: Callable[[str], None],
    begun: Callable[[RunFolder], None],
    kernels: Record | None,
) -> Report:
    """Train, test and write; args as ``train_run``."""
    from peclip_fast.engine.trainer import train  # Fabric takes a second, which testing needs not

    if world.first:
        _open(run, config)
        keep_in(run, kernels)
        tell(_summary(config, splits, model, run, device, world))
        begun(run)
    gather(None)  # nobody reads the run folder before it is there
    options = replace(config.train, cuda_graphs=takes_graphs(config, kernels))
    with kept_memory(device):
        trained = train(model, splits, replace(config, train=options), run, device, world)
        predictions = predict(model, splits.test, config, device, world)
    clips_trained = {
        "training_clips": len(splits.train),
        "skipped_training_clips": trained.skipped,
    }
    report = Report(
        config,
        splits.test,
        predictions,
        splits.classes,
        protocol(config, run),
        facts(model, device, world.size) | clips_trained,
    )
    if world.first:
        known = run_facts(config, report.as_json(), run.crop)
        model.card = model_card(config.model, splits.classes, known)
        model.save_pretrained(run.model)
        if history := read_history(run.metrics):
            write_bytes(run.curves, curves_png(history, config.title))
        report.write(run.path)  # its last file says that the run has ended
    return report


def resume_command(run: RunFolder, world: World) -> str:
    """The command that goes on with a run, in as many processes."""
    command = "python"
    if world.size > 1:
        nodes = world.size // world.local_size
        command = f"torchrun --nproc-per-node {world.local_size}"
        if nodes > 1:
            command += f" --nnodes {nodes} ..."
    return f"{command} -m peclip_fast.train --output {shlex.quote(str(run.path))} --resume"


def evaluate_run(
    run: RunFolder,
    config: RunConfig,
    splits: DatasetSplits,
    former: RunConfig | None = None,
    changed: Sequence[Difference] = (),
    device: torch.device | None = None,
    world: World | None = None,
) -> Report:
    """Test a run's model; nothing is written.

    Args:
        run: that has ended.
        config: of the run, with what is changed for this test.
        splits: the configuration's clips.
        former: of the run as it was trained; ``config`` unless given.
        changed: the options in which they differ, for the report.
        device: as in ``train_run``.
        world: as in ``train_run``.

    Raises:
        InputError: a clip, or the model for these classes, can't be used.
    """
    world = world or World.from_environment()
    device = device or set_up(config.train, world)
    former = former or config
    if not splits.test:
        raise InputError(f"{config.data.dataset}: no test clips")
    settle_kernels(config, device, world, run)
    # Trained on no classes, so that any will do.
    zero_shot = former.train.target == "descriptions" or not former.epochs
    model = from_pretrained(
        run.model, classes=splits.classes, zero_shot=zero_shot, **asdict(config.model)
    )
    settle_decoder(config, splits.test, model.image_size, device, world, run)
    with kept_memory(device):
        predictions = predict(model, splits.test, config, device, world)
    about: dict[str, Any] = facts(model, device, world.size) | training_facts(run)
    return Report(
        config,
        splits.test,
        predictions,
        splits.classes,
        protocol(former, run, config.data.dataset),
        about | {"changed": [str(difference) for difference in changed]},
    )


def _open(run: RunFolder, config: RunConfig) -> None:
    run.clear_partial()
    if run.exists:  # perhaps since a moment ago
        run.check_going_on(config)
    else:  # the first file, so that a kill leaves either a run or an empty folder
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
    trained = sum(p.numel() for p in model.trained_parameters().values())
    going_on = " (resumed)" if run.begun else ""
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
