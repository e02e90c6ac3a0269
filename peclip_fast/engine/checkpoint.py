"""Checkpoints: what a run needs to go on, whole on the disk or not there.

A checkpoint is written after the optimizer's step, every so many steps and at the end of each
epoch. It holds the trained tensors, the optimizer and the schedule, the history and where the run
stands. All randomness is a function of the seed and that place, so no generator is kept.
"""

from __future__ import annotations

import io
import pickle
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins import TorchCheckpointIO
from lightning.pytorch import Callback, LightningModule, Trainer

from peclip_fast.errors import InputError
from peclip_fast.files import write_bytes


class WholeFiles(TorchCheckpointIO):
    """Writes a checkpoint aside and renames it; reads tensors and plain values only."""

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any | None = None
    ) -> None:
        """One file; an OSError names it and leaves the former one."""
        buffer = io.BytesIO()
        torch.save(checkpoint, buffer)
        write_bytes(Path(path), buffer.getbuffer())

    def load_checkpoint(
        self, path: str | Path, map_location: Any | None = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        """The checkpoint on the CPU, or InputError that names the file."""
        return read_checkpoint(Path(path))


def read_checkpoint(path: Path) -> dict[str, Any]:
    """The checkpoint on the CPU, or InputError that names the file."""
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
        raise InputError(f"{path}: not a checkpoint of this program") from error
    return dict(checkpoint)


def position(trainer: Trainer) -> tuple[int, int]:
    """Where training stands: the epoch from 0, and the batches of it that are done."""
    return trainer.current_epoch, trainer.fit_loop.batch_idx + 1


class LastCheckpoint(Callback):
    """Saves the run's checkpoint; the last callback, so that it sees what the others did.

    Args:
        path: of the one file, replaced every time.
        every: optimizer steps from one to the next within an epoch.
    """

    def __init__(self, path: Path, every: int) -> None:
        self.path = path
        self.every = every
        self.saved_step = 0

    def on_train_batch_end(
        self, trainer: Trainer, module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save after the optimizer's step, but not after an epoch's last batch: it ends soon."""
        last = batch_idx + 1 == trainer.num_training_batches
        if not last and trainer.global_step >= self.saved_step + self.every:
            self.save(trainer)

    def on_train_epoch_end(self, trainer: Trainer, module: LightningModule) -> None:
        """Save the finished epoch."""
        self.save(trainer)

    def save(self, trainer: Trainer) -> None:
        """Save now."""
        self.saved_step = trainer.global_step
        trainer.save_checkpoint(self.path)
