"""What all campaigns share: inputs by number, the judgement of what became of each, the count.

An input is a function of its campaign's name, the seed and its number, so that a finding is made
again by these three. What isn't right is a finding: any exception but the one that users are meant
to see, a message of more than one line, too long a time, other content than was stored.
"""

from __future__ import annotations

import contextlib
import gc
import os
import resource
import signal
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple, Protocol

from peclip_fast.errors import InputError

LIMIT = 1.0  # seconds of the processor for one input of a text reader
PATIENCE = 30  # seconds, after which an input hangs
MEMORY = 1 << 30  # bytes beyond what the process has


class WrongError(Exception):
    """What was read is not what it should be; raised by a campaign's own checks."""


class HangError(BaseException):
    """Out of patience. No Exception, so that nobody takes it for an error of the input."""


class Finding(NamedTuple):
    """Something that isn't right.

    Args:
        campaign: its name.
        number: of the input, which with the seed makes it again.
        kind: in a few words; findings of one kind have one cause, as a rule.
        said: the whole of it.
    """

    campaign: str
    number: int
    kind: str
    said: str


@dataclass
class Tally:
    """What became of a campaign's inputs.

    Args:
        name: of the campaign.
        seed: of its inputs.
        kept: folder where inputs with findings are kept; None keeps none.
    """

    name: str
    seed: int = 0
    kept: Path | None = None
    inputs: int = 0
    refused: int = 0
    accepted: int = 0
    slowest: float = 0.0
    findings: list[Finding] = field(default_factory=list)

    def key(self, number: int) -> str:
        """The seed of an input's random generator."""
        return f"{self.name} {self.seed} {number}"

    def add(self, number: int, verdict: Verdict, data: bytes | None = None) -> None:
        """Count an input; keep it where there is a finding."""
        self.inputs += 1
        self.refused += verdict.refused
        self.accepted += not verdict.refused and not verdict.kind
        self.slowest = max(self.slowest, verdict.seconds)
        if verdict.kind:
            self.findings.append(Finding(self.name, number, verdict.kind, verdict.said))
            if self.kept is not None and data is not None:
                self.kept.mkdir(parents=True, exist_ok=True)
                (self.kept / f"{self.name}-{self.seed}-{number}").write_bytes(data)

    def kinds(self) -> Counter[str]:
        """How many findings of each kind."""
        return Counter(finding.kind for finding in self.findings)

    def row(self) -> dict[str, Any]:
        """For the file of results."""
        first = {finding.kind: finding for finding in reversed(self.findings)}
        return {
            "campaign": self.name,
            "inputs": self.inputs,
            "refused": self.refused,
            "accepted": self.accepted,
            "slowest_s": round(self.slowest, 3),
            "findings": [
                {"kind": kind, "times": times, "first": first[kind].number}
                for kind, times in self.kinds().most_common()
            ],
        }


class Verdict(NamedTuple):
    """What became of one input: refused as it should be, or taken, or ``kind`` says what is wrong.

    Args:
        refused: with an error that users are meant to see.
        kind: of the finding, empty where all is right.
        said: the whole message or traceback.
        seconds: it took.
    """

    refused: bool
    kind: str = ""
    said: str = ""
    seconds: float = 0.0


class Campaign(Protocol):
    """Inputs of one kind, and what becomes of them."""

    name: str
    title: str
    """What is tried, for the table."""
    share: int
    """Inputs of a slice: a twentieth of what the acceptance asks for."""

    def run(self, numbers: Iterable[int], tally: Tally) -> None:
        """Try the inputs of these numbers."""


def judged(
    read: Callable[[], object],
    refuses: tuple[type[Exception], ...] = (InputError,),
    limit: float = LIMIT,
) -> Verdict:
    """Read something, and say what became of it.

    Args:
        read: does it.
        refuses: the exceptions that are an answer, if their message is one line.
        limit: seconds of the processor.
    """
    start = time.process_time()
    refused, kind, said = False, "", ""
    try:
        with patience(PATIENCE), no_collection(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            read()
    except refuses as error:
        refused, said = True, str(error)
        if said.splitlines() != [said]:
            number = "several lines" if said else "no line"
            refused, kind = False, f"{type(error).__name__} of {number}"
            said = traceback.format_exc()
    except WrongError as error:
        kind = said = str(error)
    except HangError:
        kind, said = f"not done within {PATIENCE} s", traceback.format_exc()
    except Exception as error:
        kind, said = f"{type(error).__name__} {_place(error)}", traceback.format_exc()
    seconds = time.process_time() - start
    if not kind and seconds > limit:
        refused, kind, said = False, f"over {limit:g} s", f"{seconds:.1f} s, then: {said}"
    return Verdict(refused, kind, said, seconds)


def _place(error: BaseException) -> str:
    """The last line of the package that an exception came through."""
    own = [f for f in traceback.extract_tb(error.__traceback__) if "/peclip_fast/" in f.filename]
    if not own:
        return "outside of the package"
    return f"in {own[-1].filename.rpartition('/peclip_fast/')[2]}, {own[-1].name}"


@contextlib.contextmanager
def no_collection() -> Iterator[None]:
    """Garbage is collected later: in a process of thousands of tests that takes a second, whose
    input it was doesn't matter."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


@contextlib.contextmanager
def patience(seconds: float) -> Iterator[None]:
    """Raises HangError when the time is up."""

    def ring(number: int, frame: FrameType | None) -> None:
        raise HangError

    former = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, former)


@contextlib.contextmanager
def little_memory(more: int = MEMORY) -> Iterator[None]:
    """Within it the process can have so many bytes of address space more than it has now."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    former = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (pages * os.sysconf("SC_PAGE_SIZE") + more, former[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, former)
