"""What asking costs, before and after."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from threading import Lock

from peclip_fast.prepare.descriptions.prompt import Question


@dataclass
class Spent:
    """Tokens of this run and what they cost; safe to use from several threads.

    Args:
        price_in: per million tokens sent.
        price_out: per million tokens of the answers.
    """

    price_in: float
    price_out: float
    sent: int = 0
    received: int = 0
    answers: int = 0
    _lock: Lock = field(default_factory=Lock, repr=False)

    def add(self, usage: Mapping[str, int]) -> None:
        """Count one answer."""
        with self._lock:
            self.sent += usage["prompt_tokens"]
            self.received += usage["completion_tokens"]
            self.answers += 1

    def cost(self, sent: float, received: float) -> float:
        """The price of so many tokens."""
        return (sent * self.price_in + received * self.price_out) / 1e6

    def __str__(self) -> str:
        cost = self.cost(self.sent, self.received)
        return f"{self.sent} tokens sent, {self.received} received, cost {cost:.4f}"


def estimate(requests: int, most: int, question: Question, prices: Spent) -> str:
    """What a run would cost that sends a request for each clip, and ``most`` if answers leak."""
    each = len(question.prompt) / 4 + question.frames * question.side**2 / 750
    sent, cost = requests * each, prices.cost(requests * each, requests * 100)
    return (
        f"{requests} requests, about {sent:.0f} tokens sent, cost about {cost:.2f}\n"
        f"at most {most} requests, if every answer names a class\n"
        "an estimate: a token for 4 letters and 750 pixels, 100 for an answer"
    )
