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
from torch import Tensor

from peclip_fast.digests import read_zip, seal_zip
from peclip_fast.engine.run_folder import RunFolder
from peclip_fast.errors import InputError
from peclip_fast.files import write_bytes
from peclip_fast.json_files import parse_json
from peclip_fast.models.adapted_clip import AdaptedCLIP
from peclip_fast.models.storage import read_safetensors, write_safetensors


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


def write_checkpoint(run: RunFolder, checkpoint: dict[str, Any]) -> None:
    """One file with CONTENT; the former one becomes the previous one. An OSError leaves both."""
    buffer = io.BytesIO()
    torch.save(checkpoint | {"place": asdict(checkpoint["place"])}, buffer)
    seal_zip(buffer)
    write_bytes(run.last, buffer.getbuffer(), former=run.previous)


def read_checkpoint(path: Path) -> dict[str, Any]:
    """The checkpoint on the CPU, of tensors and plain values.

    Raises:
        InputError: it is damaged, or another program's; names the file.
    """
    try:
        checkpoint = torch.load(read_zip(path), map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
        raise InputError(f"{path}: not a checkpoint of this program") from error
    if not isinstance(checkpoint, dict) or checkpoint.keys() != CONTENT:
        raise InputError(f"{path}: not a checkpoint of this program")
    return checkpoint | {"place": Place(**checkpoint["place"])}


def newest_checkpoint(run: RunFolder) -> tuple[dict[str, Any], InputError | None] | None:
    """The last checkpoint, or the one before it if the last can't be used; None without any.

    Returns:
        The checkpoint, and what is wrong with the last one.

    Raises:
        InputError: none can be used; says how to start anew.
    """
    problem = None
    for path in filter(Path.exists, (run.last, run.previous)):
        try:
            return read_checkpoint(path), problem
        except InputError as error:
            problem = problem or error
    if problem is None:
        return None
    raise InputError(
        f"{problem}; no other checkpoint is left: remove {run.last.parent} to train from the start"
    )


@dataclass(frozen=True)
class Best:
    """What the file of the best weights says of them.

    Args:
        epoch: from 1.
        war: on the test split.
    """

    epoch: int
    war: float


def read_best(path: Path) -> tuple[Best, dict[str, Tensor]] | None:
    """What is there; nothing else says it, so a resumed run can't believe anything else.

    Raises:
        InputError: the file is damaged.
    """
    if not path.exists():
        return None
    tensors, notes = read_safetensors(path)
    if "best" not in notes:
        raise InputError(f"{path}: not the weights of a run's best epoch")
    return parse_json(notes["best"], str(path), Best), tensors


def keep_best(path: Path, model: AdaptedCLIP, this: Best) -> None:
    """Write the model's trained tensors if they did better than those in the file."""
    former = read_best(path)
    if former is None or this.war > former[0].war:
        write_safetensors(path, model.trained_state(), {"best": json.dumps(asdict(this))})


def load_best(path: Path, model: AdaptedCLIP) -> Best:
    """Put the best weights into the model."""
    found = read_best(path)
    if found is None:
        raise InputError(f"{path}: gone, though the run had tested an epoch")
    best, tensors = found
    model.load_trained_state(tensors, str(path))
    return best
