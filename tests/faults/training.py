"""A tiny training in a process of its own, which something can happen to."""

from __future__ import annotations

import json
import os
import resource
import signal
import socket
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
from helpers.forked import Forked
from helpers.tiny_runs import no_pictures, write_config
from lightning_fabric import Fabric
from lightning_fabric.strategies import DDPStrategy

from peclip_fast.commands.shared.main import script
from peclip_fast.engine.objective import Objective
from peclip_fast.engine.run_folder import RunFolder

PATIENCE = 120.0  # seconds for a whole run
_CHANGES = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate"}


class Ended(NamedTuple):
    """How a training ended.

    Args:
        code: of the exit; minus a signal's number.
        said: lines on standard error.
        seconds: from its start; None if it had to be killed for lack of patience.
    """

    code: int | None
    said: list[str]
    seconds: float | None


class Training:
    """Trainings of one configuration into one run folder.

    Args:
        folder: for the configuration, what is said, and the run.
        backbone: the model's.
        clips: the dataset's folder.
        train: options of the configuration.
        run: its run folder; one in ``folder`` unless given.
    """

    def __init__(
        self,
        folder: Path,
        backbone: Path,
        clips: Path,
        train: Mapping[str, Any],
        run: Path | None = None,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.run = folder, RunFolder(run or folder / "run")
        config = write_config(folder / "c.yaml", str(backbone), clips, **train)
        self.argv = ["--config", str(config)]
        self.started: list[Started] = []

    def start(self, *options: str, happens: Mapping[str, Any] | None = None, **env: str) -> Started:
        """Start or go on.

        Args:
            options: further ones of the command.
            happens: arguments of ``prepared``.
            env: environment variables.
        """
        argv = ["train", *self.argv, "--output", str(self.run.path), "--resume", *options]
        self.started.append(Started(argv, self.folder / f"{len(self.started)}.err", happens, env))
        return self.started[-1]

    def run_to_end(self, *options: str, happens: Mapping[str, Any] | None = None) -> Ended:
        """Start or go on, and wait."""
        return self.start(*options, happens=happens).end()

    def start_several(
        self, *options: str, processes: int = 2, happens: Mapping[str, Any] | None = None
    ) -> list[Started]:
        """Start or go on in processes, without torchrun, which would end one with the other."""
        with socket.socket() as free:
            free.bind(("localhost", 0))
            port = str(free.getsockname()[1])
        size = str(processes)
        shared = {"WORLD_SIZE": size, "LOCAL_WORLD_SIZE": size, "MASTER_ADDR": "localhost"}
        shared["MASTER_PORT"] = port
        return [
            self.start(*options, happens=happens, RANK=str(r), LOCAL_RANK=str(r), **shared)
            for r in range(processes)
        ]


class Started(Forked):
    """A training under way.

    Args:
        argv: of the command.
        errors: file of what it says.
        happens: arguments of ``prepared``.
        env: environment variables.
    """

    def __init__(
        self,
        argv: list[str],
        errors: Path,
        happens: Mapping[str, Any] | None,
        env: Mapping[str, str],
    ) -> None:
        self.begin = time.monotonic()
        super().__init__(_train, argv, dict(happens or {}), errors=errors, env=env)

    def begun(self) -> bool:
        """Wait until the command itself begins; False if it has ended before."""
        while not self.errors.exists() and self.poll() is None:
            time.sleep(0.005)
        return self.poll() is None

    def end(self, seconds: float = PATIENCE) -> Ended:
        """How it ends; no process of it is left then."""
        self.process.join(seconds)
        late = self.poll() is None
        self.kill()
        self.process.join()
        took = time.monotonic() - self.begin
        lines = self.said(self.errors).splitlines()
        said = [line for line in lines if not line.endswith("; starting one")]
        return Ended(self.returncode, said, None if late else took)


def _train(argv: list[str], happens: dict[str, Any]) -> None:
    """What the process does."""
    prepared(**happens)
    with no_pictures():
        script(argv)


def prepared(
    kill_at: int | None = None,
    folder: str = "",
    count_in: str | None = None,
    largest: int | None = None,
    traffic_in: str | None = None,
    losses: Mapping[str, float] | None = None,
) -> None:
    """Put in its place what is going to happen to this process.

    Args:
        kill_at: SIGKILL before this change of a file in the folder, counted from 1.
        folder: the run's.
        count_in: a file that gets the number of changes at the end of the process's work.
        largest: bytes, beyond which no file can be written.
        traffic_in: a folder, for a file of what the process has others reduce; as note_traffic().
        losses: the loss of batches, by the number of the batch in the run, in each process.
    """
    if traffic_in is not None:
        note_traffic(Path(traffic_in))
    if losses is not None:
        replace_losses(losses)
    if largest is not None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest, largest))
    if kill_at is None and count_in is None:
        return
    seen = 0

    def changed() -> None:
        nonlocal seen
        seen += 1
        if seen == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)
        if count_in is not None:
            counting = os.open(count_in, os.O_WRONLY | os.O_CREAT)
            os.pwrite(counting, str(seen).encode(), 0)
            os.close(counting)

    def heard(event: str, arguments: tuple[Any, ...]) -> None:
        writes = event == "open" and arguments[2] & (os.O_WRONLY | os.O_RDWR)
        if (writes or event in _CHANGES) and str(arguments[0]).startswith(folder):
            changed()

    def synced(descriptor: Any) -> None:
        changed()
        sync(descriptor)

    sync, os.fsync = os.fsync, synced
    sys.addaudithook(heard)


def note_traffic(folder: Path) -> None:
    """Write down what crosses from this process to others, a JSON list a line.

    Gradients come as ``["bucket", bytes, gradients that the backward pass has yet to make]``, what
    else is reduced as ``["reduce", bytes]``, and the end of a backward pass as ``["backward"]``.
    """
    file = (folder / f"{os.environ.get('RANK', '0')}.jsonl").open("w")

    def note(*what: Any) -> None:
        print(json.dumps(what), file=file, flush=True)

    made: set[int] = set()
    setup, reduce = DDPStrategy.setup_module, dist.all_reduce

    def set_up(self: DDPStrategy, module: torch.nn.Module) -> Any:
        wrapped = setup(self, module)
        parameters = list(module.parameters())
        for number, p in enumerate(parameters):
            p.register_hook(lambda _, n=number: made.add(n))  # type: ignore[misc]

        def hook(_, bucket):  # type: ignore[no-untyped-def]  # DDP looks at them
            note("bucket", bucket.buffer().nbytes, len(parameters) - len(made))
            mean = bucket.buffer().div_(dist.get_world_size())
            return reduce(mean, async_op=True).get_future().then(lambda done: done.value()[0])

        wrapped.register_comm_hook(None, hook)
        return wrapped

    def reduced(tensor: torch.Tensor, *args: Any, **options: Any) -> Any:
        note("reduce", tensor.nbytes)
        return reduce(tensor, *args, **options)

    backward = Fabric.backward

    def passed(self: Fabric, *args: Any, **options: Any) -> None:
        made.clear()
        backward(self, *args, **options)
        note("backward")

    DDPStrategy.setup_module = set_up
    Fabric.backward = passed
    dist.all_reduce = reduced


def replace_losses(losses: Mapping[str, float]) -> None:
    """In the process of this rank, ``"RANK:BATCH"`` counted from 0 in the run, the loss is another.

    Its gradients are as they were, as those of an infinite loss can be.
    """
    forward, rank = Objective.forward, os.environ.get("RANK", "0")

    def called(self: Objective, batch: Mapping[str, torch.Tensor], step: int) -> torch.Tensor:
        loss = forward(self, batch, step)
        given = losses.get(f"{rank}:{step}")
        return loss if given is None else loss - loss.detach() + given

    Objective.forward = called  # type: ignore[method-assign]
