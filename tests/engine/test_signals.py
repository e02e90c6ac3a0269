"""SIGINT and SIGTERM end a run in a line, after a checkpoint from which it comes to the same."""

from __future__ import annotations

import functools
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from helpers import signalled
from helpers.forked import Forked, session
from helpers.same_runs import assert_same
from helpers.tiny_runs import no_pictures, write_config

from peclip_fast.commands.train import main
from peclip_fast.engine.checkpoint import read_checkpoint
from peclip_fast.engine.run_folder import RunFolder

pytestmark = pytest.mark.slow

CODES = {"SIGINT": 130, "SIGTERM": 143, "SIGHUP": 129}
WORDS = {"SIGINT": "interrupted", "SIGTERM": "terminated", "SIGHUP": "hung up"}
PATIENCE = 120  # seconds, of which most are for the imports


@pytest.fixture(scope="module", autouse=True)
def without_pictures():
    """They come after all that a signal could interrupt, and a run doesn't go on from them."""
    with no_pictures():
        yield


class Scene:
    """A run without a signal, and processes that get one.

    Args:
        folder: of the runs.
        options: of the command, but for its output.
        whole: the run without a signal.
    """

    def __init__(self, folder: Path, options: list[str], whole: RunFolder) -> None:
        self.options, self.folder = options, folder
        self.whole, self.run = whole, RunFolder(folder / "a run")
        self.started: list[Forked] = []
        self.environment = {"PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}

    @property
    def argv(self) -> list[str]:
        """Arguments of the command."""
        return ["--output", str(self.run.path), *self.options]

    def start(self, program: Callable[..., None], *args: object, **environment: str) -> Forked:
        """A program of ``helpers.signalled``, in a process group of its own."""
        files = [self.folder / f"{len(self.started)}.{name}" for name in ("out", "err")]
        self.started.append(
            Forked(
                program,
                self.argv,
                *args,
                output=files[0],
                errors=files[1],
                env=self.environment | environment,
            )
        )
        return self.started[-1]

    def signalled(
        self, moment: str, number: str = "SIGTERM", target: str = "self", **environment: str
    ) -> Forked:
        """The command, which is signalled at a moment."""
        return self.start(signalled.train, moment, number, target, **environment)

    def start_anew(self, *argv: str) -> subprocess.Popen[str]:
        """``python -m``, as a shell or a scheduler does it."""
        return subprocess.Popen(
            [sys.executable, "-m", *argv],
            env=os.environ | self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def check_gone(self) -> None:
        """Nobody is left behind; loader workers may need a moment."""
        assert [process.left() for process in self.started] == [[]] * len(self.started)

    def check_line(self, err: str, number: str, program: str = "python") -> None:
        """All that was said is how to go on."""
        assert err == (
            f"{WORDS[number]}; go on with it by {program} -m peclip_fast.train "
            f"--output '{self.run.path}' --resume\n"
        )

    def resume(self) -> RunFolder:
        """By what the line says, but in this process."""
        assert not self.run.report.exists()
        assert main(["--output", str(self.run.path), "--resume"]) == 0
        return self.run


@pytest.fixture(scope="module")
def whole(tiny_backbone, tiny_clips, tmp_path_factory):
    """Gives the arguments and the run folder of a run without a signal; each is run once."""

    @functools.cache
    def run(**train: object) -> tuple[list[str], RunFolder]:
        folder = tmp_path_factory.mktemp("whole")
        config = write_config(
            folder / "c.yaml", tiny_backbone, tiny_clips, checkpoint_every=1000, **train
        )
        options = ["--config", str(config)]
        assert main([*options, "--output", str(folder / "run")]) == 0
        return options, RunFolder(folder / "run")

    return run


@pytest.fixture
def scene(whole, tmp_path):
    """Gives runs of 2 epochs of 5 batches of which no checkpoint would be written amid an epoch."""

    def make(*options: str, **train: object) -> Scene:
        own, run = whole(**train)
        return Scene(tmp_path, [*own, *options], run)

    return make


@pytest.mark.parametrize(
    ("moment", "number", "target", "workers", "place"),
    [
        ("batch:1", "SIGINT", "self", 0, (0, 1)),
        ("batch:4", "SIGHUP", "group", 1, (0, 4)),
        ("batch:8", "SIGINT", "group", 2, (1, 3)),
        ("batch:10", "SIGTERM", "group", 2, (1, 5)),
        ("decode:8", "SIGTERM", "self", 0, (0, 2)),
        ("decode:4", "SIGINT", "group", 1, None),
        ("decode:4", "SIGTERM", "group", 1, None),
        ("fetch:1", "SIGTERM", "self", 1, (0, 0)),
        ("fetch:12", "SIGINT", "group", 2, None),
        ("test:1", "SIGTERM", "group", 1, (0, 5)),
        ("test:2", "SIGINT", "self", 0, (1, 5)),
        ("test:3", "SIGTERM", "self", 0, (2, 0)),  # the last one, for the report
        ("save:1", "SIGTERM", "self", 0, (1, 0)),
    ],
)
def test_wherever_it_comes(scene, moment, number, target, workers, place):
    made = scene("--data.num_workers", str(workers))
    process = made.signalled(moment, number, target)
    out, err = process.communicate(timeout=PATIENCE)
    made.check_line(err, number)
    assert process.returncode == CODES[number]
    assert "protocol:" not in out
    made.check_gone()
    found = read_checkpoint(made.run.last)["place"]
    # How far ahead of the batches a worker reads is its own affair.
    assert place in (None, (found.epoch, found.batch))
    assert_same(made.resume(), made.whole)


@pytest.mark.parametrize(("moment", "batch"), [("batch:2", 2), ("batch:3", 2), ("batch:5", 5)])
def test_gradients_that_had_added_up_are_made_again(scene, moment, batch):
    """Steps come after batches 2, 4 and 5 of an epoch: the checkpoint is of the last of them."""
    made = scene(accumulate=2)
    process = made.signalled(moment)
    _, err = process.communicate(timeout=PATIENCE)
    made.check_line(err, "SIGTERM")
    assert read_checkpoint(made.run.last)["place"].batch == batch
    assert_same(made.resume(), made.whole)


def test_from_outside_in_the_middle_of_it(scene):
    """As a scheduler does it, at no chosen moment."""
    made = scene("--data.num_workers", "2", epochs=5)
    process = made.start_anew("peclip_fast.train", *made.argv)
    while not made.run.last.exists():
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGTERM)
    _, err = process.communicate(timeout=PATIENCE)
    made.check_line(err, "SIGTERM")
    assert process.returncode == 143
    assert session(process.pid) == []
    assert_same(made.resume(), made.whole)


def test_a_second_signal_ends_it_at_once(scene):
    made = scene("--data.num_workers", "1")
    for number, code in CODES.items():
        made.run = RunFolder(made.folder / number)
        process = made.start(signalled.train_stubbornly, number)
        _, err = process.communicate(timeout=PATIENCE)
        assert err == f"{WORDS[number]} again: ended at once\n"
        assert process.returncode == code
    made.check_gone()
    assert_same(made.resume(), made.whole)  # all are left alike, before their first step


def test_before_there_is_a_run(scene):
    """While its model is made: there is nothing to go on with."""
    made = scene()
    process = made.start(signalled.train_no_model)
    _, err = process.communicate(timeout=PATIENCE)
    assert (process.returncode, err) == (143, "terminated\n")
    assert not made.run.path.exists()


# Two processes -----------------------------------------------------------------------------------


def two(made: Scene, moment: str) -> list[Forked]:
    """Without torchrun, which would end one when the other ends; the first alone is signalled."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = str(free.getsockname()[1])
    shared = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "ONLY_RANK": "0"}
    shared |= {"MASTER_ADDR": "localhost", "MASTER_PORT": port}
    return [made.signalled(moment, RANK=str(r), LOCAL_RANK=str(r), **shared) for r in (0, 1)]


@pytest.fixture(scope="module")
def whole_of_two(whole, tmp_path_factory):
    """Two processes: batches of 4 of 15 clips, and 9 test clips, are uneven."""
    options, run = whole(batch_size=4)
    made = Scene(tmp_path_factory.mktemp("two"), options, run)
    for rank, process in enumerate(two(made, "never")):
        out, err = process.communicate(timeout=PATIENCE)
        assert process.returncode == 0, err
        assert out.count("protocol:") == (rank == 0)  # one process speaks
    return options, made.run


@pytest.fixture
def scene_of_two(whole_of_two, tmp_path):
    options, run = whole_of_two
    return Scene(tmp_path, options, run)


@pytest.mark.parametrize("moment", ["batch:3", "decode:7", "test:1"])
def test_all_processes_stop_where_one_is_asked_to(scene_of_two, moment):
    made = scene_of_two
    processes = two(made, moment)
    errors = [process.communicate(timeout=PATIENCE)[1] for process in processes]
    made.check_line(errors[0], "SIGTERM", "torchrun --nproc-per-node 2")
    assert errors[1] == ""
    assert [process.returncode for process in processes] == [143, 143]
    made.check_gone()
    resumed = made.options
    made.options = [*resumed, "--resume"]
    for process in two(made, "never"):
        _, err = process.communicate(timeout=PATIENCE)
        assert process.returncode == 0, err
    assert_same(made.run, made.whole)


@pytest.mark.parametrize("killed", [0, 1])
def test_one_of_two_killed(scene_of_two, killed):
    """The other one says so and ends, and one process goes on with the run."""
    made = scene_of_two
    made.options = [*made.options, "--train.epochs", "200"]
    processes = two(made, "never")
    while not made.run.last.exists():
        assert all(process.poll() is None for process in processes)
        time.sleep(0.01)
    begin = time.monotonic()
    processes[killed].kill()
    _, err = processes[1 - killed].communicate(timeout=PATIENCE)
    processes[killed].communicate()
    assert time.monotonic() - begin < 60
    assert processes[1 - killed].returncode == 2
    assert err.startswith("error: another process of this run has ended (")
    assert err.endswith(f"-m peclip_fast.train --output '{made.run.path}' --resume\n")
    assert err.count("\n") == 1
    made.check_gone()
    before = read_checkpoint(made.run.last)["place"]
    made.options = ["--resume"]
    process = made.signalled("batch:4")
    process.communicate(timeout=PATIENCE)
    assert process.returncode == 143
    assert read_checkpoint(made.run.last)["place"].step > before.step


def test_torchrun(scene_of_two, tmp_path):
    """The whole group is signalled, and torchrun passes it on; what it says itself is its own."""
    made = scene_of_two
    made.options = [*made.options, "--data.num_workers", "1"]
    shared = ["--standalone", "--nproc-per-node=2", "--redirects=3", f"--log-dir={tmp_path / 'l'}"]
    argv = ["torch.distributed.run", *shared, "-m", "peclip_fast.train", *made.argv]
    launcher = made.start_anew(*argv)
    while not made.run.last.exists():
        assert launcher.poll() is None, launcher.communicate()
        time.sleep(0.01)
    os.killpg(launcher.pid, signal.SIGTERM)
    launcher.communicate(timeout=PATIENCE)
    first, second = (path.read_text() for path in sorted(tmp_path.glob("l/**/stderr.log")))
    made.check_line(first, "SIGTERM", "torchrun --nproc-per-node 2")
    assert second == ""
    assert not made.run.report.exists()
    made.options = [*made.options, "--resume"]
    for process in two(made, "never"):
        _, err = process.communicate(timeout=PATIENCE)
        assert process.returncode == 0, err
    assert_same(made.run, made.whole)
