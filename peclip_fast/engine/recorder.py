"""What a run tells while it trains: a row per epoch, curves, a bar or a line."""

from __future__ import annotations

import csv
import io
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback, TQDMProgressBar
from torch.optim import Optimizer
from torch.utils.tensorboard import SummaryWriter

from peclip_fast.engine.best import Best, keep_best
from peclip_fast.engine.distributed import World, gather
from peclip_fast.engine.metrics import Scores
from peclip_fast.engine.module import ClipClassifier
from peclip_fast.engine.run_folder import RunFolder
from peclip_fast.files import write_text

COLUMNS = (
    "epoch",
    "step",
    "loss",
    "lr_adapters",
    "lr_prompts",
    "test_uar",
    "test_war",
    "clips_per_second",
    "data_wait",
    "seconds",
)
CURVE_STEPS = 10  # optimizer steps between points of TensorBoard's loss curve


class Recorder(Callback):
    """Tests the model at the end of epochs and writes the history.

    The history travels in the checkpoint and metrics.csv is written whole from it, so a resumed
    run repeats no row.

    Args:
        run: where the files go.
        test: gives the scores on the test split.
        world: the first process writes.
        epochs: of the run.
        test_every: epochs from one test to the next; 0 for none.
        best: keep the weights of the epoch with the best WAR.
    """

    def __init__(
        self,
        run: RunFolder,
        test: Callable[[], Scores],
        world: World,
        epochs: int,
        test_every: int,
        best: bool,
    ) -> None:
        self.run = run
        self.test = test
        self.world = world
        self.epochs = epochs
        self.test_every = test_every
        self.best = best
        self.history: list[dict[str, Any]] = []
        self.skipped: dict[str, None] = {}  # reasons, each once, in the order they came up
        self.rates: dict[str, float] = {}
        self.curves: SummaryWriter | None = None
        self._restart_clock()

    def state_dict(self) -> dict[str, Any]:
        """What the checkpoint keeps."""
        return {"history": self.history, "skipped": list(self.skipped)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on after the rows of the checkpoint."""
        self.history = state_dict["history"]
        self.skipped = dict.fromkeys(state_dict["skipped"])

    def on_save_checkpoint(
        self, trainer: Trainer, module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """The curves reach as far as the checkpoint."""
        if self.curves is not None:
            self.curves.flush()

    # Within an epoch ---------------------------------------------------------------------------

    def on_train_start(self, trainer: Trainer, module: LightningModule) -> None:
        """Open the curves; what a killed run wrote after its checkpoint is hidden."""
        if self.world.first:
            folder = str(self.run.path / "tensorboard")
            self.curves = SummaryWriter(folder, purge_step=trainer.global_step + 1)
            self._write_history()
        self._restart_clock()

    def on_train_batch_start(
        self, trainer: Trainer, module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Note how long this batch was waited for."""
        self.waited += time.perf_counter() - self.mark

    def on_before_optimizer_step(
        self, trainer: Trainer, module: LightningModule, optimizer: Optimizer
    ) -> None:
        """Note the learning rates of this step."""
        self.rates = {group["name"]: group["lr"] for group in optimizer.param_groups}

    def on_train_batch_end(
        self,
        trainer: Trainer,
        module: LightningModule,
        outputs: Any,
        batch: Mapping[str, Any],
        batch_idx: int,
    ) -> None:
        """Count the clips, list the bad ones, draw the loss."""
        self.mark = time.perf_counter()
        self.clips += len(batch["label"]) * self.world.size
        for clip in batch["bad"]:
            if clip.reason not in self.skipped:
                self.skipped[clip.reason] = None
                print(f"warning: clip skipped: {clip.reason}", file=sys.stderr)
        step = trainer.global_step
        if self.curves is not None and step % CURVE_STEPS == 0:
            self.curves.add_scalar("train/loss", outputs["loss"], step)
        if trainer.progress_bar_callback is not None:
            size = len(batch["label"])
            module.log("loss", outputs["loss"], prog_bar=True, logger=False, batch_size=size)
            module.log("clips/s", self._speed(), prog_bar=True, logger=False, batch_size=size)

    # At its end --------------------------------------------------------------------------------

    def on_train_epoch_end(self, trainer: Trainer, module: LightningModule) -> None:
        """Test, add a row, tell of it."""
        if not isinstance(module, ClipClassifier):
            raise TypeError(f"expected a ClipClassifier, got {type(module).__name__}")
        epoch = trainer.current_epoch + 1
        row = dict.fromkeys(COLUMNS) | {
            "epoch": epoch,
            "step": trainer.global_step,
            "loss": module.take_mean_loss(),
            "clips_per_second": round(self._speed(), 3),
            "data_wait": round(self.waited / max(self._elapsed(), 1e-9), 3),
        }
        row |= {f"lr_{name}": rate for name, rate in self.rates.items()}
        if self.test_every and epoch % self.test_every == 0:
            scores = self.test()
            module.train()
            row |= {"test_uar": scores.uar, "test_war": scores.war}
            if self.best and self.world.first:
                keep_best(self.run.best, module.model, Best(epoch, scores.war))
        self.skipped = {reason: None for part in gather(self.skipped) for reason in part}
        row["seconds"] = round(time.perf_counter() - self.started, 1)  # with the test
        self.history.append(row)
        if self.world.first:
            self._write_history()
            self._draw(row)
            self._say(trainer, row)
        self._restart_clock()

    def on_train_end(self, trainer: Trainer, module: LightningModule) -> None:
        """Close the curves."""
        if self.curves is not None:
            self.curves.close()

    def _write_history(self) -> None:
        text = io.StringIO()
        writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.history)
        write_text(self.run.metrics, text.getvalue())

    def _draw(self, row: Mapping[str, Any]) -> None:
        if self.curves is not None:
            for name in COLUMNS[2:]:
                if row[name] is not None:
                    self.curves.add_scalar(f"epoch/{name}", row[name], row["step"])

    def _say(self, trainer: Trainer, row: Mapping[str, Any]) -> None:
        parts = [
            f"epoch {row['epoch']:>{len(str(self.epochs))}}/{self.epochs}",
            f"loss {row['loss']:.4f}",
            f"{row['clips_per_second']:.3g} clips/s",
            f"waited for data {row['data_wait']:.0%}",
        ]
        if row["test_war"] is not None:
            parts += [f"test UAR {row['test_uar']:.2%}", f"WAR {row['test_war']:.2%}"]
        bar = trainer.progress_bar_callback
        (print if bar is None else bar.print)("  ".join(parts))

    def _restart_clock(self) -> None:
        self.started = self.mark = time.perf_counter()
        self.waited = 0.0
        self.clips = 0

    def _elapsed(self) -> float:
        return self.mark - self.started

    def _speed(self) -> float:
        return self.clips / max(self._elapsed(), 1e-9)


class Bar(TQDMProgressBar):
    """Lightning's bar, with epochs from 1 as in the lines and files."""

    def on_train_start(self, trainer: Trainer, *arguments: Any) -> None:
        """Open the bar, which may begin amid an epoch."""
        super().on_train_start(trainer, *arguments)
        self.train_progress_bar.total = trainer.num_training_batches
        self._name(trainer)

    def on_train_epoch_start(self, trainer: Trainer, *arguments: Any) -> None:
        """Start anew."""
        super().on_train_epoch_start(trainer, *arguments)
        self._name(trainer)

    def _name(self, trainer: Trainer) -> None:
        name = f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs}"
        self.train_progress_bar.set_description(name)
