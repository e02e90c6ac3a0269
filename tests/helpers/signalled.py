"""Trainings that are signalled on their way.

A moment says when: batch:N (in the forward pass of the Nth batch), test:N (in the Nth test),
decode:N (while the Nth training clip of this process is read), fetch:N (in the Nth handshake with a
worker that hands over a tensor), save:N (in the Nth write of a checkpoint) or never. A target is
who gets the signal: self, or group, as from a terminal or a scheduler. From then on, whatever is
interrupted would take a minute.
"""

from __future__ import annotations

import itertools
import os
import signal
import time
from collections.abc import Callable, Sequence
from multiprocessing import connection
from typing import Any

from helpers.tiny_runs import no_pictures

from peclip_fast.commands.shared.main import script
from peclip_fast.data.loading.dataset import ClipDataset
from peclip_fast.engine import evaluation, run, trainer
from peclip_fast.engine.objective import Objective

LONG = 60.0


def signal_us(main: int, number: int, target: str) -> None:
    """Send it; the answer comes before the next line, unless this is a worker of ``main``."""
    if target == "group":
        os.killpg(os.getpgid(main), number)
    else:
        os.kill(main, number)


def at(count: int, then: Callable[[], None], function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, before whose Nth call something happens."""
    calls = itertools.count(1)

    def called(*arguments: Any, **named: Any) -> Any:
        if next(calls) == count:
            then()
        return function(*arguments, **named)

    return called


def prepare(moment: str, number: int, target: str) -> None:
    """Put the signal in its place."""
    kind, _, count = moment.partition(":")
    if kind == "never":
        return

    main = os.getpid()  # a worker's is another

    def send() -> None:
        signal_us(main, number, target)

    def send_and_take_long() -> None:
        send()
        time.sleep(LONG)

    if kind == "batch":
        Objective.forward = at(int(count), send, Objective.forward)
    elif kind == "save":
        trainer.write_checkpoint = at(int(count), send, trainer.write_checkpoint)
    elif kind == "test":
        evaluation._run = at(int(count), send_and_take_long, evaluation._run)
    elif kind == "decode":
        ClipDataset.load = at(int(count), send_and_take_long, ClipDataset.load)
    elif kind == "fetch":
        connection.answer_challenge = at(int(count), send, connection.answer_challenge)
    else:
        raise ValueError(moment)


def train(argv: Sequence[str], moment: str, name: str, target: str) -> None:
    """The command, signalled at a moment, where this is the process of ONLY_RANK if that is set."""
    only = os.environ.get("ONLY_RANK")
    if only is None or only == os.environ.get("RANK"):
        prepare(moment, signal.Signals[name], target)
    with no_pictures():
        script(["train", *argv])


def train_stubbornly(argv: Sequence[str], name: str) -> None:
    """The command, signalled twice: the first one has to wait for the batch, which takes long."""

    def forward(*_: object) -> None:
        for seconds in (3, LONG):
            signal_us(os.getpid(), signal.Signals[name], "group")
            time.sleep(seconds)

    Objective.forward = forward  # type: ignore[assignment, method-assign]
    script(["train", *argv])


def train_no_model(argv: Sequence[str]) -> None:
    """The command, signalled while its model is made."""
    run.create_model = lambda **_: os.kill(os.getpid(), signal.SIGTERM)
    script(["train", *argv])
