"""Texts as they are read: without invisible signs, with letters for what looks like them."""

from __future__ import annotations

import functools
import itertools
import re
import unicodedata
from collections.abc import Iterator

from peclip_fast.prepare.descriptions.lexicon import data

_BY_NAME = re.compile(
    r"(?:LATIN|REGIONAL|(?:NEGATIVE )?(?:SQUARED|CIRCLED)) .*LETTER (?:SMALL CAPITAL )?([A-Z])\b"
)
_UNSEEN = ("Mn", "Me", "Cf", "Cc")
_FILLERS = "\u115f\u1160\u3164\uffa0"
_EMOJI = re.compile("[\U0001f300-\U0001faff\u2600-\u26ff\u2763-\u2767]")


@functools.lru_cache(maxsize=10_000)
def _letters(sign: str) -> str:
    """What is read for one sign: a lower-case letter, several, the sign itself, or nothing."""
    if sign.isascii():
        return sign.lower() if sign.isprintable() or sign.isspace() else ""
    if sign in look_alikes():
        return look_alikes()[sign]
    if _EMOJI.match(sign):
        return sign
    if named := _BY_NAME.match(unicodedata.name(sign, "")):
        return named[1].lower()
    found = ""
    for part in unicodedata.normalize("NFKD", sign).lower():
        if unicodedata.category(part) not in _UNSEEN and part not in _FILLERS:
            found += look_alikes().get(part, part)
    return found


@functools.cache
def look_alikes() -> dict[str, str]:
    """Letters of other scripts to the Latin ones that they look like."""
    return {
        sign: letter
        for letter, signs in data()["look_alikes"].items()
        for sign in signs
        if not sign.isascii() and sign.isalpha()
    }


@functools.cache
def _signs() -> dict[str, str]:
    """Digits and other signs to the letters that they may stand for."""
    table: dict[str, str] = {}
    for letter, signs in data()["look_alikes"].items():
        for sign in signs:
            table[sign] = table.get(sign, "") + letter
    return table


def plain(text: str) -> tuple[str, list[int]]:
    """The text as it is read, and where each of its characters stands in ``text``."""
    if text.isascii() and text.isprintable():
        return text.lower(), list(range(len(text)))
    letters, places = [], []
    for place, sign in enumerate(text):
        for part in _letters(sign):
            letters.append(part)
            places.append(place)
    return "".join(letters), places


def spellings(written: str) -> Iterator[str]:
    """The words of letters that digits and signs for letters may stand for; at most 16."""
    choices = [_signs().get(sign, sign) for sign in written]
    for letters in itertools.islice(itertools.product(*choices), 16):
        yield "".join(letters)


def is_emoji(sign: str) -> bool:
    """Whether a sign is a picture."""
    return _EMOJI.match(sign) is not None
