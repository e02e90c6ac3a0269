"""Where the runs of experiments are kept, shared by all of them."""

from __future__ import annotations

import contextlib
import fcntl
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from peclip_fast.engine.run_folder import RunFolder
from peclip_fast.errors import InputError
from peclip_fast.experiment.plan import Cell
from peclip_fast.files import write_text
from peclip_fast.json_files import read_json
from peclip_fast.locks import is_taken
from peclip_fast.plots.curves import Row, read_history


@dataclass(frozen=True)
class Cost:
    """What training took, the mean over epochs.

    Args:
        step: seconds of a batch, without those spent waiting for clips.
        clips_per_second: with them.
        memory: bytes at the peak, of the GPU or else of the process; None where nobody noted it.
    """

    step: float
    clips_per_second: float
    memory: float | None


@dataclass(frozen=True)
class Result:
    """What a finished run has come to.

    Args:
        uar: in percent.
        war: in percent.
        recalls: class -> recall in percent; classes without test clips are left out.
        trained: number of trained parameters.
        seconds: of its epochs and their tests; of an epoch that was stopped, those after.
        protocol: which epoch's weights, in words.
        device: what it ran on.
        torch: version.
        cost: of training, where the run has trained something.
    """

    uar: float
    war: float
    recalls: Mapping[str, float]
    trained: int
    seconds: float
    protocol: str
    device: str
    torch: str
    cost: Cost | None = None


@dataclass(frozen=True)
class _Counts:
    trained: int


@dataclass(frozen=True)
class _Versions:
    torch: str


@dataclass(frozen=True)
class _Written:
    """What report.json says that is needed here."""

    uar: float
    war: float
    recall: dict[str, float | None]
    parameters: _Counts
    protocol: str
    device: str
    versions: _Versions


@dataclass(frozen=True)
class CellFolder:
    """The files of one cell.

    Args:
        root: of all cells.
        cell: the run.
    """

    root: Path
    cell: Cell

    @property
    def run(self) -> RunFolder:
        """The run folder, as ``peclip_fast.train`` makes it."""
        return RunFolder(self.root / self.cell.name)

    @property
    def config(self) -> Path:
        """The configuration that the run is started with."""
        return self.root / f"{self.cell.name}.yaml"

    @property
    def log(self) -> Path:
        """What the run has printed."""
        return self.root / f"{self.cell.name}.log"

    def write_config(self) -> None:
        """Write the configuration."""
        write_text(self.config, self.cell.config.to_yaml())

    def result(self) -> Result | None:
        """The result, or None until the run has ended; InputError for a broken report."""
        path = self.run.report
        if not path.exists():  # a run's last file
            return None
        try:
            report = read_json(path, _Written)
            history = read_history(self.run.metrics)
        except InputError as error:
            raise InputError(f"{error}; remove {self.run.path} to run it anew") from None
        return Result(
            100 * report.uar,
            100 * report.war,
            {name: 100 * rate for name, rate in report.recall.items() if rate is not None},
            report.parameters.trained,
            sum(row.get("seconds") or 0 for row in history),
            report.protocol,
            report.device,
            report.versions.torch,
            _cost(history, self.cell.config.train.batch_size),
        )

    @contextlib.contextmanager
    def lock(self) -> Iterator[int | None]:
        """The descriptor of a file that only this process holds, or None while another does.

        A child that inherits it holds it too, until it ends, so a run whose starter was killed
        isn't started a second time.
        """
        with open(self.root / f"{self.cell.name}.lock", "w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                if is_taken(error, self.root):
                    yield None
                    return
            yield file.fileno()


def _cost(history: Sequence[Row], batch_size: int) -> Cost | None:
    """What the epochs' rows tell; None where they tell no speed."""
    speeds = [row.get("clips_per_second") for row in history]
    waits = [row.get("data_wait") for row in history]
    known = [(s, w or 0.0) for s, w in zip(speeds, waits, strict=True) if s]
    if not known:
        return None
    steps = [batch_size / speed * (1 - wait) for speed, wait in known]
    memory = [found for row in history if (found := row.get("peak_memory")) is not None]
    speed = sum(speed for speed, _ in known) / len(known)
    return Cost(sum(steps) / len(steps), speed, max(memory, default=None))
