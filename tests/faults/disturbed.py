"""Trainings that are killed, signalled or out of space, and then go on.

What comes out must be the run that nothing has happened to, bit for bit; what is said on the way
must be one line, and no process may be left behind.
"""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from faults.campaign import Tally, Verdict, WrongError
from faults.training import Ended, Started, Training
from helpers.same_runs import assert_same

from peclip_fast.files import is_partial

# Runs of 2 epochs of 5 batches; they differ in what is written, and by whom clips are read.
SETUPS: tuple[dict[str, Any], ...] = (
    {"checkpoint_every": 1, "select": "best"},
    {"checkpoint_every": 2, "num_workers": 2},
)
RANK_PATIENCE = 60.0  # seconds for the other process to end
CODES = {signal.SIGINT: 130, signal.SIGTERM: 143}


class Scene:
    """Where trainings are run, and those that nothing happens to.

    Args:
        folder: for the runs.
        backbone: of the model.
        clips: of the dataset.
    """

    def __init__(self, folder: Path, backbone: Path, clips: Path) -> None:
        self.folder, self.backbone, self.clips = folder, backbone, clips
        self.seconds: dict[str, float] = {}
        self._whole: dict[str, Training] = {}

    def training(self, name: str, setup: int, run: Path | None = None) -> Training:
        """A new one; its run folder may be elsewhere."""
        shutil.rmtree(self.folder / name, ignore_errors=True)
        train = dict(SETUPS[setup])
        workers = train.pop("num_workers", 0)
        made = Training(self.folder / name, self.backbone, self.clips, train, run)
        made.argv += ["--data.num_workers", str(workers)]
        return made

    def whole(self, setup: int, two: bool = False) -> Training:
        """The one that nothing happens to, which is run once."""
        name = f"whole-{setup}{'-two' * two}"
        if name not in self._whole:
            made = self.training(name, setup)
            options = ["--train.batch_size", "4"] if two else []
            counting = {"count_in": str(made.folder / "count"), "folder": str(made.run.path)}
            begin = time.monotonic()
            started = made.start_several(*options) if two else [made.start(happens=counting)]
            ends = [process.end() for process in started]
            assert all(end.code == 0 for end in ends), ends
            self.seconds[name] = time.monotonic() - begin
            self._whole[name] = made
        return self._whole[name]

    def lasts(self, setup: int, two: bool = False) -> float:
        """Seconds that such a run takes."""
        self.whole(setup, two)
        return self.seconds[f"whole-{setup}{'-two' * two}"]


class Disturbed(ABC):
    """A campaign: a training is disturbed, goes on, and comes to the same."""

    name, title, share = "", "", 3

    def __init__(self, scene: Scene) -> None:
        self.scene = scene

    def run(self, numbers: Iterable[int], tally: Tally) -> None:
        for number in numbers:
            rng, begin = random.Random(tally.key(number)), time.monotonic()
            kind = said = ""
            training = None
            try:
                with self.place(rng) as place:
                    setup = rng.randrange(len(SETUPS))
                    training = self.scene.training(self.name, setup, place)
                    self.disturb(training, setup, number, rng)
            except WrongError as error:
                kind, _, said = str(error).partition(": ")
            tally.add(number, Verdict(False, kind, said, time.monotonic() - begin))

    @contextlib.contextmanager
    def place(self, rng: random.Random) -> Iterator[Path | None]:
        """The run folder, where it isn't the scene's."""
        yield None

    @abstractmethod
    def disturb(self, training: Training, setup: int, number: int, rng: random.Random) -> None:
        """Disturb it, let it go on, and compare; WrongError says what isn't right."""


def finish(training: Training, whole: Training, *options: str) -> None:
    """Go on to the end, and compare with the run that nothing has happened to."""
    ended = training.run_to_end(*options)
    if ended.code != 0:
        raise WrongError(f"goes on with code {ended.code}: {' / '.join(ended.said[-3:])}")
    compare(training, whole)


def compare(training: Training, whole: Training) -> None:
    """The same in all bits, and nothing is left half written."""
    try:
        assert_same(training.run, whole.run)
    except AssertionError as error:
        raise WrongError(f"another result: {error}") from None
    if partial := [path.name for path in training.run.path.rglob("*") if is_partial(path)]:
        raise WrongError(f"left half written: {partial}")


def check_ended(
    started: Started, ended: Ended, codes: set[int], lines: tuple[int, ...] = (1,)
) -> None:
    """It has ended in time, with one of these codes, in so many lines, and left no process."""
    if left := started.left():
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        raise WrongError(f"leaves processes behind: {len(left)}")
    if ended.seconds is None:
        raise WrongError("doesn't end")
    if ended.code not in codes:
        raise WrongError(f"ends with code {ended.code}: {' / '.join(ended.said[-3:])}")
    if len(ended.said) not in lines:
        said = "\n".join(ended.said[-40:])
        raise WrongError(f"says more or less than a line: {len(ended.said)} lines\n{said}")


class KilledAtWrites(Disturbed):
    """SIGKILL before each change of a file, in turn: opened, flushed, renamed or removed."""

    name, title, share = "writes", "trainings killed at a write", 10

    def disturb(self, training: Training, setup: int, number: int, rng: random.Random) -> None:
        changes = int((self.scene.whole(setup).folder / "count").read_text())
        at = rng.randrange(changes) + 1
        happens = {"kill_at": at, "folder": str(training.run.path)}
        started = training.start(happens=happens)
        check_ended(started, started.end(), {-signal.SIGKILL, 0}, (0,))
        finish(training, self.scene.whole(setup))


class KilledAtRandom(Disturbed):
    """SIGKILL at up to three random moments of one run, one after another."""

    name, title = "kills", "trainings killed at random moments"

    def disturb(self, training: Training, setup: int, number: int, rng: random.Random) -> None:
        for _ in range(rng.choice((1, 1, 2, 3))):
            started = training.start()
            started.process.join(rng.uniform(0, self.scene.lasts(setup)))
            started.kill()
            check_ended(started, started.end(), {-signal.SIGKILL, 0}, (0,))
        finish(training, self.scene.whole(setup))


class Signalled(Disturbed):
    """SIGINT or SIGTERM at a random moment: one line, its code, and all processes gone."""

    name, title = "signals", "trainings asked to end at random moments"

    def disturb(self, training: Training, setup: int, number: int, rng: random.Random) -> None:
        sent = rng.choice(list(CODES))
        started = training.start()
        assert started.begun()
        started.process.join(rng.uniform(0.1, self.scene.lasts(setup)))
        before = started.process.is_alive()
        started.kill(sent)
        ended = started.end()
        if before or ended.code != 0:
            # It may have written its last file when the signal came.
            lines = (0,) if ended.code == 0 else (1,)
            check_ended(started, ended, {CODES[sent], 0}, lines)
            if ended.code == 0 and not training.run.report.exists():
                raise WrongError("ends with code 0 without a report")
        finish(training, self.scene.whole(setup))


class WorkerKilled(Disturbed):
    """A process that reads clips is killed alone: one line, or it goes on by itself."""

    name, title, share = "workers", "trainings of which a loader process is killed", 1

    def disturb(self, training: Training, setup: int, number: int, rng: random.Random) -> None:
        training.argv += ["--data.num_workers", "2"]
        started = training.start()
        moment = time.monotonic() + rng.uniform(0, self.scene.lasts(1))
        while started.process.is_alive():
            workers = started.children()
            if workers and time.monotonic() > moment:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(rng.choice(workers), signal.SIGKILL)
                break
            time.sleep(0.01)
        # It may go on with new ones, which it says, or come too late to be missed.
        check_ended(started, started.end(), {0, 2}, (0, 1))
        finish(training, self.scene.whole(setup))


class FullDisk(Disturbed):
    """No file can grow beyond some bytes, or the disk is a small one that is full."""

    name, title, share = "disks", "trainings on a full disk", 1

    @contextlib.contextmanager
    def place(self, rng: random.Random) -> Iterator[Path | None]:
        self.mounted = None
        if rng.random() < 0.5 and os.geteuid() == 0:
            place = self.scene.folder / "disk"
            place.mkdir(exist_ok=True)
            space = rng.randrange(1, self._space())
            if _mount(place, f"size={space}"):
                self.mounted = place
        try:
            yield self.mounted and self.mounted / "run"
        finally:
            if self.mounted:
                subprocess.run(["umount", str(self.mounted)], check=True)

    def disturb(self, training: Training, setup: int, number: int, rng: random.Random) -> None:
        whole = self.scene.whole(setup)
        sizes = [p.stat().st_size for p in whole.run.path.rglob("*") if p.is_file()]
        happens = {} if self.mounted else {"largest": rng.randrange(4096, max(sizes))}
        started = training.start(happens=happens)
        ended = started.end()
        check_ended(started, ended, {0, 2}, (0,) if ended.code == 0 else (1,))
        if self.mounted:
            _mount(self.mounted, "remount,size=1g")
        finish(training, whole)

    def _space(self) -> int:
        whole = self.scene.whole(0).run.path
        return sum(p.stat().st_size + 4096 for p in whole.rglob("*"))


class RankKilled(Disturbed):
    """One of two processes is killed: the other ends in a line, and one or two go on."""

    name, title, share = "ranks", "trainings by two processes, one of them killed", 1

    def disturb(self, training: Training, setup: int, number: int, rng: random.Random) -> None:
        options = ["--train.batch_size", "4"]
        whole = self.scene.whole(setup, two=True)
        started = training.start_several(*options)
        killed = started[rng.randrange(2)]
        killed.process.join(rng.uniform(0, self.scene.lasts(setup, two=True)))
        # Who ends before the two have met is waited for for minutes; the run's file comes after.
        while killed.process.is_alive() and not training.run.exists:
            time.sleep(0.01)
        killed.kill()
        killed.end()
        for other in started:
            ended = other.end(RANK_PATIENCE)
            if other is killed:
                check_ended(other, ended, {-signal.SIGKILL, 0}, (0,))
            else:
                check_ended(other, ended, {0, 1, 2}, (0,) if ended.code == 0 else (1,))
        if number % 2:
            ended = training.run_to_end(*options)
            if ended.code != 0:
                raise WrongError(f"goes on alone with code {ended.code}: {ended.said[-3:]}")
            return
        ends = [process.end() for process in training.start_several(*options)]
        if any(end.code for end in ends):
            raise WrongError(f"go on with codes {[end.code for end in ends]}")
        compare(training, whole)


CAMPAIGNS = (KilledAtWrites, KilledAtRandom, Signalled, WorkerKilled, FullDisk, RankKilled)


def _mount(place: Path, options: str) -> bool:
    """Whether a disk in memory could be mounted there, or changed."""
    command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(place)]
    return subprocess.run(command, stderr=subprocess.DEVNULL).returncode == 0
