"""Finds the sentences of a description that name a class, so that labels don't leak."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from peclip_fast.prepare.descriptions.lexicon import Lexicon, data

_HYPHENS = "-‐‑"
_WORD = re.compile(rf"[^\W\d_]+(?:[{_HYPHENS}'’][^\W\d_]+)*")
_CUT = re.compile(rf"[{_HYPHENS}'’]")
_JOINED = re.compile(rf"[{_HYPHENS}]|['’].*")
# A line break ends a sentence too, as in a list, unless the next line goes on in lower case.
_END = re.compile(r"""(?:[.!?…]+["'”’)\]*_]*(?=\s|\Z)|\n(?!\s*[a-z]))\s*""")
_ABBREVIATION = re.compile(r"\b(?:e\.g|i\.e|approx|ca|cf|vs|resp|incl)\.\Z", re.IGNORECASE)


class Leak(NamedTuple):
    """A word or phrase as it was written, the class it names, and the sentence it is in."""

    word: str
    label: str
    sentence: str


class Cleaned(NamedTuple):
    """A description without the sentences that name a class; ``text`` is empty if none is left."""

    text: str
    leaks: tuple[Leak, ...]


class LeakFilter:
    """Leaves out each sentence in which a word or phrase names a class.

    Words are matched whole, in any case and in all regular inflections; hyphenated ones also by
    their parts.

    Args:
        classes: class names; where one is an expression, the words of all expressions count.
    """

    def __init__(self, classes: Sequence[str]) -> None:
        self.lexicon = Lexicon(classes)
        self._phrases = _pattern([phrase for phrase, _ in self.lexicon.phrases])
        self._kept = _pattern(data()["kept"])

    def __call__(self, text: str) -> Cleaned:
        """What is left of the text, and what was found; a text without leaks stays as it is."""
        found = sorted(self._found(text))
        if not found:
            return Cleaned(text, ())
        left, leaks = [], []
        for start, end in _sentences(text):
            sentence = text[start:end].strip()
            here = [leak for leak in found if leak[0] < end and start < leak[1]]
            leaks += [Leak(text[first:last], label, sentence) for first, last, label in here]
            if not here:
                left.append(text[start:end])
        rest = "".join(left).strip()
        return Cleaned(rest if _WORD.search(rest) else "", tuple(leaks))

    def _found(self, text: str) -> Iterator[tuple[int, int, str]]:
        """Start, end and class of all that names one; a phrase goes before the words in it."""
        taken = [match.span() for match in self._kept.finditer(text)]
        phrases = []
        for match in self._phrases.finditer(text):
            if not _within(match.span(), taken):
                assert match.lastindex is not None  # each phrase is a group
                phrases.append(match.span())
                yield *match.span(), self.lexicon.phrases[match.lastindex - 1][1]
        for match in _WORD.finditer(text):
            if _within(match.span(), phrases):
                continue
            written = match[0].lower()
            for word in dict.fromkeys((_JOINED.sub("", written), *_CUT.split(written))):
                label = self.lexicon.label(word)
                if label and (word in self.lexicon.own or not _within(match.span(), taken)):
                    yield *match.span(), label
                    break


def _within(span: tuple[int, int], others: Sequence[tuple[int, int]]) -> bool:
    return any(start <= span[0] and span[1] <= end for start, end in others)


def _sentences(text: str) -> Iterator[tuple[int, int]]:
    """Start and end of each sentence, with the blanks behind it; a list's "2." goes with its."""
    start = 0
    for match in _END.finditer(text):
        sentence = text[start : match.end()].rstrip()
        if _WORD.search(sentence) and not _ABBREVIATION.search(sentence):
            yield start, match.end()
            start = match.end()
    if start < len(text):
        yield start, len(text)


def _pattern(phrases: Sequence[str]) -> re.Pattern[str]:
    """Any of the phrases as whole words, each a group, with anything small for a blank."""
    lines = (re.sub(r"(?<=[|:]) ", "", " ".join(phrase.split())) for phrase in phrases)
    spaced = (line.replace(" ", r"[^\w.;:!?]{1,3}").replace("'", "['’]") for line in lines)
    groups = (f"({line})" for line in spaced)
    return re.compile(rf"(?<![^\W_])(?:{'|'.join(groups) or '(?!)'})(?![^\W_])", re.IGNORECASE)
