"""Asks an LLM for the texts of many clips, several at a time, and keeps each answer."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from threading import BoundedSemaphore

from tqdm import tqdm

from peclip_fast.data.records import ClipRecord
from peclip_fast.errors import InputError
from peclip_fast.prepare.descriptions.answers import Answers
from peclip_fast.prepare.descriptions.endpoint import Endpoint, NoReplyError, RefusedError, Reply
from peclip_fast.prepare.descriptions.pictures import pictures

FAILURES_IN_A_ROW = 20  # after which the endpoint is taken to be gone


@dataclass
class Spent:
    """Tokens of this run and what they cost.

    Args:
        price_in: per million tokens sent.
        price_out: per million tokens of the answers.
    """

    price_in: float
    price_out: float
    sent: int = 0
    received: int = 0
    answers: int = 0

    def add(self, usage: Mapping[str, int]) -> None:
        """Count one answer."""
        self.sent += usage["prompt_tokens"]
        self.received += usage["completion_tokens"]
        self.answers += 1

    def __str__(self) -> str:
        cost = (self.sent * self.price_in + self.received * self.price_out) / 1e6
        return f"{self.sent} tokens sent, {self.received} received, cost {cost:.4f}"


@dataclass
class Asking:
    """One question about clips.

    Args:
        endpoint: where to ask.
        answers: where answers are kept, by the thread that got them: nothing that happens
            elsewhere can lose one.
        prompt: the question.
        question: what tells it from others in ``answers``.
        frames: of a clip that are sent.
        side: longer side of a larger frame that is sent.
        parallel: requests in flight; as many clips more are decoded meanwhile.
        spent: counts what it costs.
    """

    endpoint: Endpoint
    answers: Answers
    prompt: str
    question: str
    frames: int
    side: int
    parallel: int
    spent: Spent
    failed: dict[str, str] = field(default_factory=dict)
    in_a_row: int = 0

    def __post_init__(self) -> None:
        self._lines = BoundedSemaphore(self.parallel)

    def ask(self, clips: Mapping[str, ClipRecord]) -> dict[str, str]:
        """Asks for all clips; the reason of each clip that has no answer.

        However it ends, what is in flight is waited for, as it is paid for.

        Raises:
            RefusedError: the endpoint refuses every request.
            OSError: an answer couldn't be written.
        """
        waiting, flying = iter(clips.items()), dict[Future[Reply], str]()
        pool = ThreadPoolExecutor(2 * self.parallel)
        with tqdm(total=len(clips), desc="asking", unit="clip", disable=None) as bar:
            try:
                while self.in_a_row < FAILURES_IN_A_ROW:
                    while len(flying) < 2 * self.parallel and (item := next(waiting, None)):
                        flying[pool.submit(self._one, *item)] = item[0]
                    if not flying:
                        break
                    for done in wait(flying, return_when=FIRST_COMPLETED).done:
                        self._count(flying.pop(done), done.result)
                        bar.set_postfix_str(str(self.spent))
                        bar.update()
            finally:
                self.endpoint.stopped.set()
                _wait_for(pool)
                for done, clip in flying.items():
                    if not done.cancelled() and done.exception() is None:
                        self._count(clip, done.result)
                print(f"{self.spent.answers} answers, {self.spent}", file=sys.stderr)
        if self.in_a_row >= FAILURES_IN_A_ROW:
            print(f"stopped after {self.in_a_row} failures in a row", file=sys.stderr)
        return self.failed

    def _one(self, clip: str, record: ClipRecord) -> Reply:
        images = pictures(record, self.frames, self.side)
        with self._lines:
            reply = self.endpoint.ask(self.prompt, images)
            self.answers.add((clip, self.endpoint.llm, self.question), reply)
        return reply

    def _count(self, clip: str, result: Callable[[], Reply]) -> None:
        try:
            reply = result()
        except RefusedError:
            raise
        except (InputError, NoReplyError) as error:
            self.failed[clip] = str(error)
            self.in_a_row += isinstance(error, NoReplyError)
            return
        self.in_a_row = 0
        self.spent.add(reply.usage)
        if reply.finish not in ("", "stop"):
            tqdm.write(f"{clip}: the answer ended by '{reply.finish}'", file=sys.stderr)


def _wait_for(pool: ThreadPoolExecutor) -> None:
    while True:
        try:
            return pool.shutdown(cancel_futures=True)
        except KeyboardInterrupt:
            print("waiting for answers that are paid for", file=sys.stderr)
