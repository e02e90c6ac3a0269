"""What a run goes on from, and the weights of its best epoch: whole on the disk or not there.

A checkpoint holds the trained tensors, the optimizer and the scale of fp16's gradients, the history
and where the run stands, which is always after an optimizer step. All randomness is a function of
the seed and that place, so no generator is kept.
"""

from __future__ import annotations

import io
import json
import pickle
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save

from peclip_fast.errors import InputError
from peclip_fast.files import write_bytes
from peclip_fast.models.adapted_clip import AdaptedCLIP


@dataclass(frozen=True)
class Place:
    """Where a run stands.

    Args:
        epoch: from 0.
        batch: batches of the epoch that are done.
        step: optimizer steps of the run.
        losses: for each process (sum of the losses of this epoch's clips, number of clips).
    """

    epoch: int
    batch: int
    step: int
    losses: list[tuple[float, int]]

    def losses_of(self, rank: int, processes: int) -> tuple[float, int]:
        """A process's own; the first one takes all where there are other processes now."""
        if len(self.losses) == processes:
            return self.losses[rank]
        losses, clips = zip(*self.losses, strict=True)
        return (sum(losses), sum(clips)) if rank == 0 else (0.0, 0)


CONTENT = {"model", "optimizer", "scaler", "place", "history", "skipped"}


def write_checkpoint(path: Path, checkpoint: dict[str, Any]) -> None:
    """One file with CONTENT, written aside and renamed; an OSError leaves the former one."""
    buffer = io.BytesIO()
    torch.save(checkpoint | {"place": asdict(checkpoint["place"])}, buffer)
    write_bytes(path, buffer.getbuffer())


def read_checkpoint(path: Path) -> dict[str, Any]:
    """The checkpoint on the CPU, of tensors and plain values; InputError that names the file."""
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
        raise InputError(f"{path}: not a checkpoint of this program") from error
    if not isinstance(checkpoint, dict) or checkpoint.keys() != CONTENT:
        raise InputError(f"{path}: not a checkpoint of this program")
    return checkpoint | {"place": Place(**checkpoint["place"])}


@dataclass(frozen=True)
class Best:
    """What the file of the best weights says of them.

    Args:
        epoch: from 1.
        war: on the test split.
    """

    epoch: int
    war: float


def read_best(path: Path) -> Best | None:
    """What is there; nothing else says it, so a resumed run can't believe anything else."""
    if not path.exists():
        return None
    with safe_open(path, "pt") as file:
        return Best(**json.loads(file.metadata()["best"]))


def keep_best(path: Path, model: AdaptedCLIP, this: Best) -> None:
    """Write the model's trained tensors if they did better than those in the file."""
    former = read_best(path)
    if former is None or this.war > former.war:
        tensors = {name: t.cpu().contiguous() for name, t in model.trained_state().items()}
        write_bytes(path, save(tensors, {"best": json.dumps(asdict(this))}))


def load_best(path: Path, model: AdaptedCLIP) -> Best:
    """Put the best weights into the model."""
    best = read_best(path)
    if best is None:
        raise RuntimeError(f"{path}: not there after a run that tested its epochs")
    model.load_trained_state(load_file(path), str(path))
    return best
