"""Where a run keeps its files, and whether one may start or go on there."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from peclip_fast.errors import InputError
from peclip_fast.files import check_writable, is_partial


@dataclass(frozen=True)
class RunFolder:
    """The files of a run.

    Args:
        path: of the folder.
    """

    path: Path

    @property
    def config(self) -> Path:
        """The resolved configuration; a folder with this file holds a run."""
        return self.path / "config.yaml"

    @property
    def last(self) -> Path:
        """The checkpoint from which the run goes on."""
        return self.path / "checkpoints" / "last.ckpt"

    @property
    def best(self) -> Path:
        """Trained tensors of the best epoch, under train.select=best."""
        return self.path / "checkpoints" / "best.safetensors"

    @property
    def metrics(self) -> Path:
        """The history: a row for each epoch."""
        return self.path / "metrics.csv"

    @property
    def curves(self) -> Path:
        """The history as a picture; there when the run has ended."""
        return self.path / "curves.png"

    @property
    def report(self) -> Path:
        """The result; a run's last file, so that one with it has ended."""
        return self.path / "report.json"

    @property
    def model(self) -> Path:
        """The trained model, as save_pretrained writes it; there when the run has ended."""
        return self.path / "model"

    @property
    def exists(self) -> bool:
        """Whether the folder holds a run."""
        return self.config.is_file()

    def check_new(self) -> None:
        """Raise InputError unless a new run may be written here."""
        check_writable(self.path)
        if self.exists:
            raise InputError(
                f"{self.path}: holds a run already; go on with it by --resume, or choose another "
                "--output"
            )
        if self.path.exists() and any(not is_partial(path) for path in self.path.iterdir()):
            raise InputError(f"{self.path}: holds other files; choose another --output")

    def discard(self) -> None:
        """Remove the folder with all that is in it."""
        shutil.rmtree(self.path)

    def clear_partial(self) -> None:
        """Remove what a kill in the middle of a write has left."""
        for path in filter(is_partial, self.path.rglob("*")):
            path.unlink()

    def check_trained(self) -> None:
        """Raise InputError unless a trained model is here."""
        if not self.exists:
            raise InputError(f"{self.path}: no run there, it has no {self.config.name}")
        if not self.model.is_dir():
            raise InputError(
                f"{self.path}: its training has not ended; go on with it by "
                f"peclip-fast train --output {self.path} --resume"
            )
