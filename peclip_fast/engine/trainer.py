"""Training a model on clips, from the start or from a checkpoint: the loop, from top to bottom."""

from __future__ import annotations

import contextlib
import json
import math
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from peclip_fast.config.run import RunConfig
from peclip_fast.data.loading.dataset import ClipDataset
from peclip_fast.data.loading.loader import make_loader
from peclip_fast.data.records import ClipRecord, DatasetSplits
from peclip_fast.engine.checkpoint import (
    Best,
    Place,
    keep_best,
    load_best,
    newest_checkpoint,
    write_checkpoint,
)
from peclip_fast.engine.distributed import World, agreed, gather
from peclip_fast.engine.evaluation import predict
from peclip_fast.engine.graphs import Choice, CompiledModel
from peclip_fast.engine.objective import Objective
from peclip_fast.engine.optimizer import factor_at, make_optimizer, set_rates
from peclip_fast.engine.recorder import Recorder
from peclip_fast.engine.run_folder import RunFolder
from peclip_fast.engine.steps.fabric import make_fabric
from peclip_fast.engine.steps.finite import FiniteSteps, poisoned
from peclip_fast.errors import InputError, SharedError
from peclip_fast.files import write_text
from peclip_fast.json_files import read_json
from peclip_fast.models.adapted_clip import AdaptedCLIP
from peclip_fast.stopping import Stopped, hold, watch


@dataclass(frozen=True)
class Trained:
    """What a run has come to.

    Args:
        epoch: from 1, whose weights the model now has; 0 where nothing is trained.
        history: a row per epoch.
        skipped: why training clips were left out, if any were.
    """

    epoch: int
    history: list[dict[str, Any]]
    skipped: list[str]


@dataclass(frozen=True)
class _Compiled:
    """What train.compile=auto has chosen for a run, which goes on so."""

    compiled: bool


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
        Stopped: by SIGINT or SIGTERM, with a checkpoint of where the run stands; in all processes.
    """
    if not config.epochs:
        Recorder(run, world, 0, 0, ()).write_history()
        return Trained(0, [], [])
    with watch(), hold():
        training = Training(model, splits, config, run, device, world)
        training.run_epochs()
    epoch = config.train.epochs
    if config.train.select == "best":
        epoch = load_best(run.best, model).epoch
    return Trained(epoch, training.recorder.history, sorted(training.recorder.skipped))


class Training:
    """A run under way. Args as ``train``.

    Attributes:
        epoch: from 0.
        batch: batches of the epoch that are done.
        step: optimizer steps of the run.
        sums: (2,) float64, the sum of the losses of this epoch's clips here, and their number.
        place: where the run stood after its last optimizer step, with ``sums`` of then.
    """

    def __init__(
        self,
        model: AdaptedCLIP,
        splits: DatasetSplits,
        config: RunConfig,
        run: RunFolder,
        device: torch.device,
        world: World,
    ) -> None:
        self.model, self.splits, self.config, self.run = model.to(device), splits, config, run
        self.device, self.world, self.options = device, world, config.train
        self.loader = training_clips(model, splits.train, config, device, world)
        self.batches = self.loader.batch_sampler.batches_per_epoch
        trained = sum(p.nbytes for p in model.trained_parameters().values())
        self.fabric = make_fabric(self.options, device, world, trained)
        objective = Objective(model, config, world.rank)
        self.objective = self.fabric.setup_module(objective)
        self.to_compile = objective.logits if isinstance(objective.logits, CompiledModel) else None
        optimizer = make_optimizer(model, config)
        self.optimizer: Any = self.fabric.setup_optimizers(optimizer)
        groups = list(dict.fromkeys(group["name"] for group in optimizer.param_groups))
        self.recorder = Recorder(run, world, self.options.epochs, self.batches, groups)
        self.finite = FiniteSteps(
            self.options, optimizer, splits.train, lambda line: self.recorder.warn(line)
        )
        self.epoch = self.batch = self.step = self.saved_step = 0
        self.sums = torch.zeros(2, dtype=torch.float64, device=device)
        self.load()
        self.stand()

    def run_epochs(self) -> None:
        """Every epoch that is left: train, test, save."""
        with contextlib.closing(self.loader), self.recorder.opened(self.step):
            try:
                while self.epoch < self.options.epochs:
                    self.train_epoch()
                    self.test_epoch()
                    self.save()
            except Stopped:
                self.save()
                raise

    def train_epoch(self) -> None:
        """The batches of the epoch that are left."""
        options, recorder = self.options, self.recorder
        self.model.train()
        self.loader.set_epoch(self.epoch, self.batch)
        recorder.start_epoch(self.epoch, self.batch)
        for batch, clips in agreed(self.loader):
            recorder.batch_came(batch)
            self.batch += 1
            stepping = self.batch % options.accumulate == 0 or self.batch == self.batches
            tensors = {
                name: value.to(self.device, non_blocking=True)
                for name, value in batch.items()
                if isinstance(value, Tensor)
            }
            if self.to_compile is not None:
                self.compile(self.to_compile, tensors)
            # Until the step, gradients add up in each process; only then they cross over.
            with self.fabric.no_backward_sync(self.objective, enabled=not stepping):
                summed = self.objective(tensors, self.epoch * self.batches + self.batch - 1)
                # The mean over the clips of all processes, whose gradients are averaged: a process
                # with fewer clips counts for less.
                loss = poisoned(summed) * self.world.size / max(clips, 1)
                self.fabric.backward(loss / options.accumulate)
            self.count(summed.detach(), batch["index"].tolist())
            if stepping:
                self.step_optimizer()
            recorder.batch_done(clips, loss.detach(), self.step)
            due = self.step >= self.saved_step + options.checkpoint_every
            if due and self.batch < self.batches:  # the last batch is saved with the epoch's test
                self.save()

    def compile(self, model: CompiledModel, batch: dict[str, Tensor]) -> None:
        """Compile for whole batches, or not; as before where the run goes on."""
        whole = len(batch["label"]) == self.world.share(self.options.batch_size)
        if not all(gather(whole)):
            return
        self.to_compile = None
        choice: Choice = self.options.compile
        if choice == "auto" and self.run.compiled.exists():
            choice = read_json(self.run.compiled, _Compiled).compiled
        parameters = list(self.objective.parameters())
        before = [parameter.grad for parameter in parameters]

        def step() -> None:
            for parameter in parameters:
                parameter.grad = None
            with self.fabric.no_backward_sync(self.objective):
                self.fabric.backward(self.objective(batch, 0))

        if choice:
            steps = self.batches * self.options.epochs - self.epoch * self.batches - self.batch
            model.settle(choice, step, steps, self.recorder.say)
            model.on = gather(model.on)[0]
            for parameter, grad in zip(parameters, before, strict=True):
                parameter.grad = grad
        if self.options.compile == "auto" and self.world.first:
            write_text(self.run.compiled, json.dumps(asdict(_Compiled(model.on))))

    def count(self, loss: Tensor, clips: list[int]) -> None:
        """Add up the losses that are numbers, and their clips."""
        self.finite.batch(loss, clips)
        good = loss.isfinite()
        self.sums += torch.stack([loss.where(good, 0).double(), good * float(len(clips))])

    def step_optimizer(self) -> None:
        """One step by the gradients that have added up."""
        options, steps = self.options, math.ceil(self.batches / self.options.accumulate)
        factor = factor_at(self.step, steps, options)
        set_rates(self.optimizer, self.config.learning_rates, factor, options.lr_end)
        if options.clip_norm is not None:
            self.fabric.clip_gradients(
                self.objective, self.optimizer, max_norm=options.clip_norm,
                error_if_nonfinite=False,
            )  # fmt: skip
        self.finite.before_step(self.epoch + 1, self.batch, self.step + 1)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.step += 1
        self.finite.after_step()
        self.stand()

    def test_epoch(self) -> None:
        """Test if it is time to, add the epoch's row to the history, and turn to the next one."""
        epoch, options = self.epoch + 1, self.options
        row = {"epoch": epoch, "step": self.step, "loss": self.mean_loss()}
        row |= {f"lr_{group['name']}": group["lr"] for group in self.optimizer.param_groups}
        if options.test_every and epoch % options.test_every == 0:
            found = predict(self.model, self.splits.test, self.config, self.device, self.world)
            scores = found.scores(self.splits.classes)
            row |= {"test_uar": scores.uar, "test_war": scores.war}
            if options.select == "best" and self.world.first:
                keep_best(self.run.best, self.model, Best(epoch, scores.war))
        self.recorder.end_epoch(row)
        self.epoch, self.batch = epoch, 0
        self.sums.zero_()
        self.stand()

    def mean_loss(self) -> float:
        """Over this epoch's clips of all processes."""
        losses, clips = torch.stack(gather(self.sums.cpu())).sum(0).tolist()
        return losses / clips if clips else math.nan

    # Where the run stands -----------------------------------------------------------------------

    def stand(self) -> None:
        """Remember this place: with the weights of now a run can go on from here."""
        self.place = self.epoch, self.batch, self.step, self.sums.clone()

    def save(self) -> None:
        """Write a checkpoint of the last optimizer step; what has added up since is done again."""
        self.finite.settle()
        epoch, batch, step, sums = self.place
        losses = [(loss, int(clips)) for loss, clips in map(Tensor.tolist, gather(sums.cpu()))]
        skipped = self.recorder.all_skipped()
        self.recorder.flush()
        self.saved_step = self.finite.saved_step = step
        if self.world.first:
            checkpoint = {
                "model": self.model.trained_state(),
                "optimizer": self.optimizer.state_dict(),
                "scaler": self.fabric.strategy.precision.state_dict(),
                "place": Place(epoch, batch, step, losses),
                "history": self.recorder.history,
                "skipped": skipped,
            }
            write_checkpoint(self.run, checkpoint)

    def load(self) -> None:
        """Go on from the run's checkpoint, if there is one."""
        found = newest_checkpoint(self.run)
        places = gather(None if found is None else found[0]["place"])
        if any(place != places[0] for place in places):
            raise SharedError(
                f"{self.run.path}: the hosts find other checkpoints there; expected a folder that "
                "all of them share"
            )
        if found is None:
            return
        checkpoint, problem = found
        if problem is not None:
            self.recorder.warn(f"{problem}; going on from the checkpoint before it")
            gather(None)  # all have read what there is
            if self.world.first:
                self.run.last.unlink()  # so that it doesn't take the place of the one before it
        self.model.load_trained_state(checkpoint["model"], str(self.run.last))
        self.optimizer.load_state_dict(checkpoint["optimizer"])
        self.fabric.strategy.precision.load_state_dict(checkpoint["scaler"])
        place: Place = checkpoint["place"]
        self.epoch, self.batch, self.step = place.epoch, place.batch, place.step
        self.saved_step = self.finite.saved_step = place.step
        losses = place.losses_of(self.world.rank, self.world.size)
        self.sums.copy_(torch.tensor(losses, dtype=torch.float64))
        self.recorder.history = checkpoint["history"]
        self.recorder.skipped = dict.fromkeys(checkpoint["skipped"])


def training_clips(
    model: AdaptedCLIP,
    records: list[ClipRecord],
    config: RunConfig,
    device: torch.device,
    world: World,
) -> Any:
    """The loader of this process's part of each training batch."""
    options = config.train
    inputs, batch_size = model.inputs, options.batch_size
    if options.target == "descriptions":
        inputs = (*inputs, "descriptions")
        if batch_size < 2 * world.size:
            raise InputError(
                f"train.batch_size={batch_size}: expected at least 2 clips for each of the "
                f"{world.size} processes, as descriptions are told apart within its batch"
            )
    clips = ClipDataset(
        records,
        config.data,
        model.image_size,
        train=True,
        seed=options.seed,
        inputs=inputs,
        tokenize=model.tokenize,
    )
    return make_loader(clips, batch_size, rank=world.rank, world_size=world.size, device=device)
