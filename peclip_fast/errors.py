"""The one error for what a user gave us, and what helps to say it."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class InputError(ValueError):
    """Something the user gave can't be used: a file, a list line, a tensor, an option.

    The message is one line that names the thing and says what was expected. The commands print it
    as ``error: <message>`` and exit with code 2; everything else that is raised is a bug of ours.
    What a message repeats of a file or a name is made printable.
    """

    def __init__(self, message: object = "") -> None:
        lines = str(message).split("\n")
        super().__init__(printable(" ".join(map(str.strip, lines) if lines[1:] else lines)))


class SharedError(InputError):
    """One that all processes of a run come to; the first one says it for all."""


def printable(text: str) -> str:
    """A text in which nothing acts on a terminal: ``\\n``, ``\\x1b``, ``\\udce9`` stand for it."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def one_line(error: object) -> str:
    """A message without its line breaks."""
    return " ".join(str(error).split())


def hint(name: str, known: Iterable[str]) -> str:
    """A suggestion for a name that isn't known: of the same last part, or else a similar one."""
    known, name = list(known), name[:200]
    last = name.lstrip("-").split(".")[-1]
    same = [k for k in known if k.split(".")[-1].lstrip("-") == last]
    close = same or get_close_matches(name, known, n=1)
    if not close:
        parts = {k.split(".")[-1].lstrip("-"): k for k in known}
        close = [parts[part] for part in get_close_matches(last, parts, n=1)]
    return f"; did you mean {close[0]}?" if close else ""
