"""Training a model on clips, from the start or from a checkpoint."""

from __future__ import annotations

import logging
import sys
import warnings
from dataclasses import dataclass
from typing import Any

import torch
from lightning.fabric.plugins.environments import LightningEnvironment, TorchElasticEnvironment
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.strategies import DDPStrategy, SingleDeviceStrategy, Strategy

from peclip_fast.config.run import RunConfig
from peclip_fast.data.loading.dataset import ClipDataset
from peclip_fast.data.loading.loader import make_loader
from peclip_fast.data.records import DatasetSplits
from peclip_fast.engine.batches import EpochBatches
from peclip_fast.engine.best import load_best, read_best
from peclip_fast.engine.checkpoint import LastCheckpoint, WholeFiles, position
from peclip_fast.engine.distributed import World
from peclip_fast.engine.evaluation import predict
from peclip_fast.engine.metrics import Scores
from peclip_fast.engine.module import ClipClassifier
from peclip_fast.engine.recorder import Bar, Recorder
from peclip_fast.engine.run_folder import RunFolder
from peclip_fast.errors import InputError
from peclip_fast.models.adapted_clip import AdaptedCLIP

PRECISIONS: dict[str, Any] = {"fp32": "32-true", "bf16": "bf16-mixed", "fp16": "16-mixed"}
# Advice of the libraries to their users, of no use to ours.
NOISE = (
    "module\\(s\\) in eval mode",
    "dataloader is not resumable",
    "isinstance\\(treespec",
    "`broadcast_buffers` is deprecated",  # its successor is not in torch 2.11
)


@dataclass(frozen=True)
class Trained:
    """What a run has come to.

    Args:
        epoch: from 1, whose weights the model now has.
        history: a row per epoch.
        skipped: why training clips were left out, if any were.
    """

    epoch: int
    history: list[dict[str, Any]]
    skipped: list[str]


def train(
    model: AdaptedCLIP,
    splits: DatasetSplits,
    config: RunConfig,
    run: RunFolder,
    device: torch.device,
    world: World,
) -> Trained:
    """Train until the last epoch, going on from the run's checkpoint if there is one.

    The model ends with the weights that ``train.select`` asks for.

    Raises:
        InputError: a clip, the checkpoint or the configuration can't be used.
        OSError: a file can't be written; the last checkpoint stays.
    """
    options = config.train
    inputs, share = model.inputs, world.share(options.batch_size)
    if options.target == "descriptions":
        inputs = (*inputs, "descriptions")
        if share < 2:
            raise InputError(
                f"train.batch_size={options.batch_size}: expected at least 2 clips for each of the "
                f"{world.size} processes, as descriptions are told apart within its batch"
            )
    loader = make_loader(
        ClipDataset(
            splits.train,
            config.data,
            model.image_size,
            train=True,
            seed=options.seed,
            inputs=inputs,
            tokenize=model.tokenize,
        ),
        share,
        rank=world.rank,
        world_size=world.size,
        device=device,
    )
    batches = loader.batch_sampler.batches_per_epoch

    def epoch_from(epoch: int, start_batch: int) -> Any:
        loader.set_epoch(epoch, start_batch)
        return loader

    def test() -> Scores:
        return predict(model, splits.test, config, device, world).scores(splits.classes)

    recorder = Recorder(
        run, test, world, options.epochs, options.test_every, options.select == "best"
    )
    callbacks: list[Callback] = [recorder, LastCheckpoint(run.last, options.checkpoint_every)]
    bar = sys.stdout.isatty()
    if bar:
        callbacks.append(Bar(refresh_rate=1 if device.type == "cpu" else 10))
    environment = LightningEnvironment() if world.size == 1 else TorchElasticEnvironment()
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    trainer = Trainer(
        accelerator="gpu" if device.type == "cuda" else "cpu",
        devices=world.local_size,
        num_nodes=world.size // world.local_size,
        strategy=_strategy(device, world),
        precision=PRECISIONS[options.precision],
        max_epochs=options.epochs,
        accumulate_grad_batches=options.accumulate,
        gradient_clip_val=options.clip_norm,
        callbacks=callbacks,
        plugins=[WholeFiles(), environment],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=bar,
        enable_model_summary=False,
        use_distributed_sampler=False,
        default_root_dir=run.path,
    )
    try:
        with warnings.catch_warnings():
            for text in NOISE:
                warnings.filterwarnings("ignore", f".*{text}")
            trainer.fit(
                ClipClassifier(model, config, batches),
                EpochBatches(epoch_from, lambda: position(trainer), batches),
                ckpt_path=run.last if run.last.exists() else None,
            )
    finally:
        loader.close()  # the trainer holds it, and its workers, until the garbage collector comes
    epoch = options.epochs
    if options.select == "best":
        best = read_best(run.best)
        if best is None:
            raise RuntimeError(f"{run.best}: not there after a run that tested its epochs")
        load_best(run.best, model)
        epoch = best.epoch
    return Trained(epoch, recorder.history, list(recorder.skipped))


def _strategy(device: torch.device, world: World) -> Strategy:
    if world.size == 1:
        return SingleDeviceStrategy(device)
    # Frozen buffers never differ, and a process may have a batch more to test than another.
    return DDPStrategy(
        process_group_backend="nccl" if device.type == "cuda" else "gloo", broadcast_buffers=False
    )
