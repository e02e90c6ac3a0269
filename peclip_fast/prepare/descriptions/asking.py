"""Asks an LLM for the texts of many clips, several at a time, and keeps each answer."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from itertools import islice
from threading import BoundedSemaphore

from tqdm import tqdm

from peclip_fast.data.records import ClipRecord
from peclip_fast.errors import InputError
from peclip_fast.prepare.descriptions.answers import Answers, Key
from peclip_fast.prepare.descriptions.cost import Spent
from peclip_fast.prepare.descriptions.endpoint import Endpoint, NoReplyError, RefusedError
from peclip_fast.prepare.descriptions.leaks import LeakFilter
from peclip_fast.prepare.descriptions.pictures import pictures
from peclip_fast.prepare.descriptions.prompt import Question

FAILURES_IN_A_ROW = 20  # after which the endpoint is taken to be gone


@dataclass
class Asking:
    """One question about clips, put again where the answer names a class.

    Args:
        endpoint: where to ask.
        answers: where answers are kept, by the thread that got them: nothing that happens
            elsewhere can lose one.
        question: the prompt and the pictures.
        leaks: tells whether an answer names a class.
        asks: how many times a clip is asked about, at most.
        parallel: requests in flight; as many clips more are decoded meanwhile.
        spent: counts what it costs.
    """

    endpoint: Endpoint
    answers: Answers
    question: Question
    leaks: LeakFilter
    asks: int
    parallel: int
    spent: Spent
    failed: dict[str, str] = field(default_factory=dict)
    in_a_row: int = 0

    def __post_init__(self) -> None:
        self._lines = BoundedSemaphore(self.parallel)
        self._digest = self.question.digest

    def told(self, clip: str) -> list[str]:
        """The answers about a clip, of this run and earlier ones."""
        return self.answers.told(clip, self.endpoint.llm, self._digest)

    def open_asks(self, clip: str) -> int:
        """How many times more a clip is asked about at most: 0 once an answer names no class."""
        told = self.told(clip)
        done = any(not self.leaks(text).leaks for text in told)
        return 0 if done else max(0, self.asks - len(told))

    def missing(self, clips: Mapping[str, ClipRecord], limit: int | None) -> dict[str, ClipRecord]:
        """The clips that have to be asked about, the first ``limit`` of them."""
        wanted = (clip for clip in clips if self.open_asks(clip))
        return {clip: clips[clip] for clip in islice(wanted, limit)}

    def texts(self, clips: Iterable[str]) -> dict[str, list[str]]:
        """The answers about each clip that has any; empty ones are told on stderr."""
        found = {}
        for clip in clips:
            told = self.told(clip)
            if any(told):
                found[clip] = told
            elif told:
                print(f"no text for {clip}: the answer is empty", file=sys.stderr)
        return found

    def ask(self, clips: Mapping[str, ClipRecord]) -> None:
        """Asks for all clips, and tells on stderr which ones lack an answer, and why.

        However it ends, what is in flight is waited for, as it is paid for.

        Raises:
            RefusedError: the endpoint refuses every request.
            OSError: an answer couldn't be written.
        """
        waiting, flying = iter(clips.items()), dict[Future[None], str]()
        pool = ThreadPoolExecutor(2 * self.parallel)
        with tqdm(total=len(clips), desc="asking", unit="clip", disable=None) as bar:
            try:
                while self.in_a_row < FAILURES_IN_A_ROW:
                    while len(flying) < 2 * self.parallel and (item := next(waiting, None)):
                        flying[pool.submit(self._one, *item)] = item[0]
                    if not flying:
                        break
                    for done in wait(flying, return_when=FIRST_COMPLETED).done:
                        self._note(flying.pop(done), done.result)
                        bar.set_postfix_str(str(self.spent))
                        bar.update()
            finally:
                self.endpoint.stopped.set()
                _wait_for(pool)
                print(f"{self.spent.answers} answers, {self.spent}", file=sys.stderr)
        if self.in_a_row >= FAILURES_IN_A_ROW:
            print(f"stopped after {self.in_a_row} failures in a row", file=sys.stderr)
        for clip, reason in self.failed.items():
            print(f"{self._lacks(clip)}: {reason}", file=sys.stderr)

    def _lacks(self, clip: str) -> str:
        return f"not asked again for {clip}" if self.told(clip) else f"no text for {clip}"

    def _one(self, clip: str, record: ClipRecord) -> None:
        images = pictures(record, self.question.frames, self.question.side)
        while self.open_asks(clip):
            told = self.told(clip)
            found = [leak.word for text in told for leak in self.leaks(text).leaks]
            key = Key(clip, self.endpoint.llm, self._digest, len(told) + 1)
            with self._lines:
                reply = self.endpoint.ask(self.question.without(found), images)
                self.answers.add(key, reply)
            self.in_a_row = 0
            self.spent.add(reply.usage)
            if reply.finish not in ("", "stop"):
                tqdm.write(f"{clip}: the answer ended by '{reply.finish}'", file=sys.stderr)

    def _note(self, clip: str, result: Callable[[], None]) -> None:
        try:
            result()
        except RefusedError:
            raise
        except (InputError, NoReplyError) as error:
            self.failed[clip] = str(error)
            self.in_a_row += isinstance(error, NoReplyError)


def _wait_for(pool: ThreadPoolExecutor) -> None:
    while True:
        try:
            return pool.shutdown(cancel_futures=True)
        except KeyboardInterrupt:
            print("waiting for answers that are paid for", file=sys.stderr)
