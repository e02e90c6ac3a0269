"""``python -m helpers.signalled MOMENT SIGNAL TARGET ...``: train, and be signalled on the way.

MOMENT says when: batch:N (in the forward pass of the Nth batch), test:N (in the Nth test), decode:N
(while the Nth training clip of this process is read), fetch:N (in the Nth handshake with a worker
that hands over a tensor), save:N (in the Nth write of a checkpoint) or never. TARGET says who gets
the signal: self, or group, as from a terminal or a scheduler. From then on, whatever is interrupted
would take a minute. The rest are the command's arguments.
"""

from __future__ import annotations

import itertools
import os
import signal
import sys
import time
from collections.abc import Callable
from multiprocessing import connection
from typing import Any

from peclip_fast.commands.main import script
from peclip_fast.data.loading.dataset import ClipDataset
from peclip_fast.engine import evaluation, trainer
from peclip_fast.engine.objective import Objective

MAIN = os.getpid()  # a worker's is another
LONG = 60.0


def signal_us(number: int, target: str) -> None:
    """Send it; the answer comes before the next line, unless this is a worker."""
    if target == "group":
        os.killpg(os.getpgid(MAIN), number)
    else:
        os.kill(MAIN, number)


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

    def send() -> None:
        signal_us(number, target)

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


if __name__ == "__main__":
    moment, number, target, *rest = sys.argv[1:]
    only = os.environ.get("ONLY_RANK")
    if only is None or only == os.environ.get("RANK"):
        prepare(moment, signal.Signals[number], target)
    script(["train", *rest])
