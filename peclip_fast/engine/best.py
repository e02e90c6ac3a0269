"""The weights of the epoch that did best on the test split."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from safetensors import safe_open
from safetensors.torch import load_file, save

from peclip_fast.files import write_bytes
from peclip_fast.models.adapted_clip import AdaptedCLIP


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
    """What is there; the file alone is asked, so a resumed run can't believe anything else."""
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


def load_best(path: Path, model: AdaptedCLIP) -> None:
    """Put the best weights into the model."""
    model.load_trained_state(load_file(path), str(path))
