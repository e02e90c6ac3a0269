"""Where a run keeps its files, and whether one may start or go on there."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from peclip_fast import locks
from peclip_fast.config.layers import read_options
from peclip_fast.config.parser import Layer, resolve
from peclip_fast.config.run import FREE_TO_CHANGE, RunConfig, differences
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
    def previous(self) -> Path:
        """The checkpoint before the last one, for when that is damaged."""
        return self.path / "checkpoints" / "previous.ckpt"

    @property
    def compiled(self) -> Path:
        """What train.compile=auto has chosen."""
        return self.path / "checkpoints" / "compiled.json"

    @property
    def kernels(self) -> Path:
        """What its choice of kernels follows from, where there was one on its machine."""
        return self.path / "kernels.json"

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
    def crop(self) -> Path:
        """How the training clips show a face (faces.crop.CropProfile), where that is known."""
        return self.path / "crop.json"

    @property
    def exists(self) -> bool:
        """Whether the folder holds a run."""
        return self.config.is_file()

    def layers(self) -> list[Layer]:
        """The configuration that the run was made with, for resolve()."""
        return [(str(self.config), read_options(self.config))]

    @property
    def begun(self) -> bool:
        """Whether there is a checkpoint to go on from."""
        return self.last.exists() or self.previous.exists()

    def check_new(self) -> None:
        """Raise InputError unless a new run may be written here."""
        check_writable(self.path)
        locks.check_unlocked(self.path)
        if self.exists:
            raise InputError(
                f"{self.path}: holds a run already; go on with it by --resume, or choose another "
                "--output"
            )
        if self.path.exists() and any(
            not is_partial(path) and path.name != locks.NAME for path in self.path.iterdir()
        ):
            raise InputError(f"{self.path}: holds other files; choose another --output")

    def check_going_on(self, config: RunConfig) -> None:
        """Raise InputError unless the run that is here may go on with a configuration."""
        former = resolve(self.layers())
        changed = [d for d in differences(former, config) if d.key not in FREE_TO_CHANGE]
        if changed:
            raise InputError(f"{self.path}: started with {'; '.join(map(str, changed[:4]))}")

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
