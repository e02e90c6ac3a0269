"""What a run tells while it trains: a row per epoch, curves, a bar or a line."""

from __future__ import annotations

import contextlib
import csv
import io
import re
import resource
import signal
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

from peclip_fast.engine.distributed import World, gather
from peclip_fast.engine.run_folder import RunFolder
from peclip_fast.files import write_text
from peclip_fast.stopping import ask

STATUS = Path("/proc/self/status")  # of this process, on Linux
CURVE_STEPS = 10  # optimizer steps between points of TensorBoard's loss curve


class Recorder:
    """Writes the history.

    The history travels in the checkpoint and metrics.csv is written whole from it, so a resumed
    run repeats no row.

    Args:
        run: where the files go.
        world: the first process writes.
        epochs: of the run.
        batches: of an epoch.
        groups: of parameters, each with a learning rate.

    Attributes:
        history: a row for each epoch that has ended.
        skipped: reasons of bad clips, each once.
    """

    def __init__(
        self,
        run: RunFolder,
        world: World,
        epochs: int,
        batches: int,
        groups: Sequence[str],
    ) -> None:
        self.run = run
        self.world = world
        self.epochs = epochs
        self.batches = batches
        rates = [f"lr_{name}" for name in groups]
        scores, times = ("test_uar", "test_war"), ("clips_per_second", "data_wait", "seconds")
        self.columns = ["epoch", "step", "loss", *rates, *scores, *times, "peak_memory"]
        self.history: list[dict[str, Any]] = []
        self.skipped: dict[str, None] = {}
        self.bar: Any = None
        self.curves: SummaryWriter | None = None

    @contextlib.contextmanager
    def opened(self, step: int) -> Iterator[None]:
        """Open the files; what a killed run drew after this step is hidden."""
        if self.world.first:
            folder = str(self.run.path / "tensorboard")
            self.curves = SummaryWriter(folder, purge_step=step + 1)
        self.write_history()
        try:
            yield
        finally:
            if self.curves is not None:
                self.curves.close()
            self._close_bar()

    def flush(self) -> None:
        """The curves reach as far as the checkpoint."""
        if self.curves is not None:
            self.curves.flush()

    def all_skipped(self) -> list[str]:
        """Reasons of all processes, which each of them knows now."""
        parts = gather(list(self.skipped))
        self.skipped = {reason: None for part in parts for reason in part}
        return list(self.skipped)

    # Within an epoch ---------------------------------------------------------------------------

    def start_epoch(self, epoch: int, batch: int) -> None:
        """Start the clock, and the bar on a terminal, at a batch of an epoch from 0."""
        self.started = self.mark = time.perf_counter()
        self.waited = 0.0
        self.clips = 0
        if self.world.first and sys.stdout.isatty():
            self.bar = tqdm(
                desc=f"epoch {epoch + 1}/{self.epochs}", total=self.batches, initial=batch,
                unit="batch", file=sys.stdout, dynamic_ncols=True, leave=False,
            )  # fmt: skip

    def batch_came(self, batch: Mapping[str, Any]) -> None:
        """Note how long this batch was waited for, and list its bad clips."""
        self.waited += time.perf_counter() - self.mark
        for clip in batch["bad"]:
            if clip.reason not in self.skipped:
                self.skipped[clip.reason] = None
                self._print(f"warning: clip skipped: {clip.reason}", sys.stderr)

    def say(self, message: str) -> None:
        """A line, once for all processes."""
        if self.world.first:
            self._print(message, sys.stderr)

    def warn(self, message: str) -> None:
        """Say it once for all processes."""
        self.say(f"warning: {message}")

    def batch_done(self, clips: int, loss: Tensor, step: int) -> None:
        """Count the clips of all processes, draw the loss."""
        self.mark = time.perf_counter()
        self.clips += clips
        if self.curves is not None and step % CURVE_STEPS == 0:
            self.curves.add_scalar("train/loss", loss, step)
        if self.bar is not None:
            self.bar.update()
            seldom = 10 if loss.is_cuda else 1  # as a GPU has to be waited for
            if self.bar.n % seldom == 0 or self.bar.n == self.batches:
                self.bar.set_postfix({"loss": f"{loss:.3f}", "clips/s": f"{self._speed():.3g}"})

    # At its end --------------------------------------------------------------------------------

    def end_epoch(self, figures: Mapping[str, Any]) -> None:
        """Add a row, which gets the times from here, and tell of it."""
        row: dict[str, Any] = {
            **dict.fromkeys(self.columns),
            **figures,
            "clips_per_second": round(self._speed(), 3),
            "data_wait": round(self.waited / max(self._elapsed(), 1e-9), 3),
            "seconds": round(time.perf_counter() - self.started, 1),  # with the test
            "peak_memory": peak_memory(),
        }
        self.history.append(row)
        self._close_bar()
        self.write_history()
        if self.world.first:
            self._draw(row)
            self._print(self._line(row), sys.stdout)

    def write_history(self) -> None:
        """metrics.csv as far as there are epochs; by the first process."""
        if not self.world.first:
            return
        text = io.StringIO()
        writer = csv.DictWriter(text, self.columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.history)
        write_text(self.run.metrics, text.getvalue())

    def _draw(self, row: Mapping[str, Any]) -> None:
        if self.curves is not None:
            for name in self.columns[2:]:
                if row[name] is not None:
                    self.curves.add_scalar(f"epoch/{name}", row[name], row["step"])

    def _line(self, row: Mapping[str, Any]) -> str:
        parts = [
            f"epoch {row['epoch']:>{len(str(self.epochs))}}/{self.epochs}",
            f"loss {row['loss']:.4f}",
            f"{row['clips_per_second']:.3g} clips/s",
            f"waited for data {row['data_wait']:.0%}",
        ]
        if row["test_war"] is not None:
            parts += [f"test UAR {row['test_uar']:.2%}", f"WAR {row['test_war']:.2%}"]
        return "  ".join(parts)

    def _print(self, line: str, file: Any) -> None:
        try:
            with tqdm.external_write_mode(file):
                print(line, file=file, flush=True)
        except OSError:  # here the run isn't at rest
            ask(signal.SIGPIPE)

    def _close_bar(self) -> None:
        if self.bar is not None:
            self.bar.close()
            self.bar = None

    def _elapsed(self) -> float:
        return self.mark - self.started

    def _speed(self) -> float:
        return self.clips / max(self._elapsed(), 1e-9)


def peak_memory() -> int:
    """Bytes at the peak so far: of the GPU's memory where one computes, else of this process's.

    Linux counts a process's from where its program starts. Elsewhere ``getrusage`` has to do, which
    also counts the program that started it.
    """
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        return torch.cuda.max_memory_allocated()
    found = re.search(r"VmHWM:\s*(\d+) kB", STATUS.read_text()) if STATUS.exists() else None
    peak = int(found[1]) if found else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak * 1024
