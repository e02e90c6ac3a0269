"""The parent's side of a check: a child process, heard until it has answered or its time is up."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from peclip_fast.ops.verdicts.child import Task, as_json

_LAST = 300  # characters of what a child said before it ended
_START = 120.0  # seconds for PyTorch, and what declares a kernel, to be imported
_STEP = 1.0  # seconds that a look at the child counts for, at most
_REAPING = 10.0  # seconds; what the system can't end by then is left to it


@dataclass
class ChildAnswers:
    """What came of a child.

    Attributes:
        verdicts: by the call's number, the state and the reason.
        times: by the call's number, as ``race`` gives them.
        call, at, turn: where it stood at last: which call, what of it, and whose turn in a race.
        began: whether it came to a call.
        state: ``done``, or ``unknown`` or ``failed`` with a reason for all that has no verdict.
        reason: of the state.
    """

    verdicts: dict[int, tuple[str, str]] = field(default_factory=dict)
    times: dict[int, dict[str, dict[str, float]]] = field(default_factory=dict)
    call: int = 0
    at: str = ""
    began: bool = False
    turn: str | None = None
    state: str = ""
    reason: str = ""

    def hear(self, line: bytes) -> bool:
        """Take an answer in; whether it begins a call, which has its own time."""
        try:
            answer = json.loads(line)
            self.at = answer.get("at", self.at)
            if "call" in answer:
                self.call, self.began = int(answer["call"]), True
                return True
            if "verdict" in answer:
                self.verdicts[int(answer["verdict"])] = str(answer["state"]), str(answer["reason"])
            elif "times" in answer:
                self.times[int(answer["times"])] = answer["found"]
            elif "state" in answer:
                self.state, self.reason = str(answer["state"]), str(answer.get("reason", ""))
            self.turn = answer.get("turn", self.turn)
        except (ValueError, TypeError, KeyError, AttributeError):
            self.state, self.reason = "failed", "its answers can't be read"
        return False


def run(task: Task, limit: float, environment: Mapping[str, str] | None = None) -> ChildAnswers:
    """Have a child do a task.

    Its process group is ended with it, also where this process is interrupted.

    Args:
        limit: seconds for each call, then it is killed; _START before it begins.
        environment: variables on top of this process's.
    """
    answers = ChildAnswers()
    reading, writing = os.pipe()
    command = [sys.executable, "-m", "peclip_fast.ops.verdicts.child", str(writing)]
    variables = {**os.environ, **(environment or {})}
    # So that it finds the package where this process did, before the task says all the path.
    root = str(Path(__file__).parents[3])
    variables["PYTHONPATH"] = os.pathsep.join(filter(None, [root, variables.get("PYTHONPATH")]))
    hearing, saying = os.pipe()
    with _Said(hearing) as said, open(reading, "rb", buffering=0) as pipe:
        try:
            child = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=saying, stderr=saying, pass_fds=[writing],
                start_new_session=True, env=variables, cwd="/",
            )  # fmt: skip
        finally:
            os.close(writing)
            os.close(saying)
        try:
            _give(child, as_json(task))
            late = _listen(child, pipe, answers, limit, said)
        finally:
            _end(child)
        if not answers.state and not answers.began:
            answers.state = "unknown"
            answers.reason = f"its process never began{said.last_words()}"
        elif not answers.state and late:
            answers.state = "failed"
            answers.reason = f"no answer within {limit:g} s: killed ({answers.at})"
        elif not answers.state:
            answers.state, answers.reason = _ending(child.returncode, answers.at, said)
    return answers


class _Said:
    """What a child prints, of which the end is kept: it may print without end."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor, self.over, self._last = descriptor, False, b""
        os.set_blocking(descriptor, False)

    def __enter__(self) -> _Said:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self.descriptor)

    def hear(self) -> None:
        """Take in some of what there is, and never wait for more."""
        with contextlib.suppress(BlockingIOError):
            heard = os.read(self.descriptor, 1 << 16)
            self.over = not heard
            self._last = (self._last + heard)[-10 * _LAST :]

    def last_words(self) -> str:
        """The last line, after a colon."""
        self.hear()
        lines = self._last.decode(errors="replace").strip().splitlines()
        return f": {lines[-1][:_LAST]}" if lines else ""


def _give(child: subprocess.Popen[bytes], data: bytes) -> None:
    assert child.stdin is not None
    with contextlib.suppress(BrokenPipeError):  # it has ended; its code tells how
        child.stdin.write(data)
        child.stdin.close()


def _listen(
    child: subprocess.Popen[bytes], pipe: IO[bytes], answers: ChildAnswers, limit: float,
    said: _Said,
) -> bool:  # fmt: skip
    """Until the child says that it is done, or ends, or its time is up; whether it is."""
    os.set_blocking(pipe.fileno(), False)
    spent, left, then = limit - _START, b"", time.monotonic()
    while not answers.state and spent < limit:
        # Where all processes stood still, as in a debugger or below SIGSTOP, the child did too.
        now = time.monotonic()
        spent, then = spent + min(now - then, _STEP), now
        ended = child.poll() is not None
        open_ones = [pipe.fileno()] if said.over else [pipe.fileno(), said.descriptor]
        select.select(open_ones, [], [], 0 if ended else min(0.1, limit))
        said.hear()
        data = pipe.read(1 << 16)  # None where there is nothing yet
        if ended and not data:  # a process that it has left behind may hold the pipe
            return False
        if data == b"":
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(limit - spent)
            return child.poll() is None
        *lines, left = (left + (data or b"")).split(b"\n")
        for line in lines:
            if answers.hear(line):
                spent = 0.0
    return not answers.state


def _end(child: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, signal.SIGKILL)
    with contextlib.suppress(subprocess.TimeoutExpired):
        child.wait(_REAPING)


def _ending(code: int | None, at: str, said: _Said) -> tuple[str, str]:
    """State and reason of a child that has ended by itself, without an answer."""
    if code is not None and code < 0:
        name = signal.Signals(-code).name
        if -code == signal.SIGKILL:  # not by us; it may be somebody else's memory that was short
            return "unknown", f"the system killed its process ({at})"
        return "failed", f"crashed by {name} ({at})"
    return "failed", f"its process ended by itself with code {code} ({at}){said.last_words()}"
