"""Closes the gaps that removed words leave, so that a sentence still reads well."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

from peclip_fast.prepare.descriptions.lexicon import words

_BETWEEN = re.compile(
    r"[\s,;/&+]*(?:(?:and|or|nor|but|then|to|than|yet)\b[\s,]*)?\Z", re.IGNORECASE
)
_PAIRS = {"*": "*", "_": "_", '"': '"', "'": "'", "`": "`", "(": ")", "[": "]", "“": "”", "‘": "’"}
_LAST_WORD = re.compile(r"(?:(?<=\s)|^)[,;]?([^\W\d_]+),?\Z")
_FIRST_WORD = re.compile(r"[^\W\d_]+")
_CONJUNCTION = re.compile(r"(?:and|or|but|nor|yet)\b\s*", re.IGNORECASE)
_LINK = re.compile(r"[,;]?\s*(?:(?:and|but|yet|as|while|because|since|so)\b\s*)?", re.IGNORECASE)
_TOLD = re.compile(
    r",\s*(?:look|seem|appear|feel|suggest|show|express|convey|indicat|display)ing\Z"
)
_MODIFIER = re.compile(r"(?:ed|ing|y|ful|less|ous|ive|al|en|tense|wide|soft|slight|stern)\Z")
_ENDS = ".!?"
_MARKS = ".,;:!?"


def mended(text: str, pieces: Sequence[tuple[int, int]]) -> str:
    """The text without the pieces ``text[start:end]`` and without what then hangs in the air.

    A text without pieces comes back as it is, and the empty string if no word is left.
    """
    if not pieces:
        return text
    merged: list[tuple[int, int]] = []
    for start, end in (_with_marks(text, *piece) for piece in pieces):
        if merged and _BETWEEN.fullmatch(text[merged[-1][1] : start]):
            start = merged.pop()[0]
        merged.append((start, end))
    for start, end in reversed(merged):
        text = _joined(text[:start], text[start:end], text[end:])
    return text.strip() if re.search(r"[^\W_]", text) else ""


def _with_marks(text: str, start: int, end: int) -> tuple[int, int]:
    """A piece with the quotes, brackets or signs of emphasis around it alone."""
    while end < len(text) and unicodedata.category(text[end]) in ("Mn", "Me", "Cf"):
        end += 1
    while start and text[start - 1] in "#@":
        start -= 1
    while start and end < len(text) and _PAIRS.get(text[start - 1]) == text[end]:
        start, end = start - 1, end + 1
    return start, end


def _joined(left: str, piece: str, right: str) -> str:
    left, right = left.rstrip(" \t"), right.lstrip(" \t")
    if right[:1] == ",":
        left = _TOLD.sub("", left)  # turns, looking sad, and nods
    opened = _last(left) in words("opening")
    if right[:1] == "," and (not left or (opened and _last(left) != "with") or left[-1] in _MARKS):
        right = right[1:].lstrip(" \t")
    if (conjunction := _CONJUNCTION.match(right)) and not _ends(left, right):
        right = right[conjunction.end() :]
        if _last(left) in words("copulas") and re.match(r"\w+[^\Wsu]s\b", right):
            left = re.sub(r"\s*\w+\Z", "", left)  # looks angry and stares
    capital = _capital(piece)
    if _ends(left, right):
        while _last(left) in words("hanging"):
            capital = capital or _capital(left.split()[-1])
            left = re.sub(r"[,;]?\s*\w+,?\Z", "", left)
        left = _TOLD.sub("", left)
    elif _last(left) in ("and", "or") and not piece.lower().endswith("ly"):
        before = re.sub(r",?\s*\w+\Z", "", left)
        if _MODIFIER.search(before.lower()):
            left = before
    if _last(left) in ("a", "an") and (first := _FIRST_WORD.match(right)):
        article = "an" if first[0][0].lower() in "aeiou" else "a"
        big = left.split()[-1][0] == "A"
        left = re.sub(r"an?\Z", "", left, flags=re.IGNORECASE)
        left += article.capitalize() if big else article
    if not left or left[-1] in f"{_ENDS}\n":
        right = right.lstrip(f"{_MARKS} \t")
        right = right[:1].upper() + right[1:] if capital else right
    elif not right or right[0] in _MARKS:
        left = left.rstrip(",;: \t")
    blank = left and right and right[0] not in f"{_MARKS})]\n" and left[-1] not in "([\n"
    return _without_frame(left, right, " " if blank else "")


def _capital(piece: str) -> bool:
    return next((sign.isupper() for sign in piece if sign.isalpha()), False)


def _ends(left: str, right: str) -> bool:
    """Whether what was removed stood at the end of a clause."""
    if not right or right[0] in f"{_MARKS})]}}\n–—-/":
        return True
    first = _FIRST_WORD.match(right)
    if first is None:
        return False
    if conjunction := _CONJUNCTION.match(right):
        second = _FIRST_WORD.match(right[conjunction.end() :])
        after = second[0].lower() if second else ""
        opened = not left or _last(left) in words("opening")
        return after in words("starting") or not opened
    return first[0].lower() in words("closing")


def _last(left: str) -> str:
    found = _LAST_WORD.search(left.rstrip())
    return found[1].lower() if found else ""


def _framing(text: str) -> bool:
    return all(word.lower() in words("frame") for word in re.findall(r"[^\W_]+", text))


def _without_frame(left: str, right: str, blank: str) -> str:
    """Both parts together without a sentence, or a clause in front of another, that says nothing
    any more: "He looks.", "He looks and his brow sinks."."""
    start = max((left.rfind(mark) for mark in f"{_ENDS}\n"), default=-1) + 1
    stops = [k for mark in f"{_ENDS}\n" if (k := right.find(mark)) >= 0]
    end = min(stops, default=len(right) - 1) + 1
    if not _framing(left[start:] + " " + right[:end]):
        clause = _LINK.sub("", right, count=1)
        first = _FIRST_WORD.match(clause)
        start = max(start, left.rfind(",") + 1, left.rfind(";") + 1)
        if not (
            _last(left) in words("copulas")
            and (first and first[0].lower() in words("starting"))
            and _framing(left[start:])
        ):
            return left + blank + right
        right, end = clause[:1].upper() + clause[1:] if _capital(left[start:]) else clause, 0
    return f"{left[:start].rstrip()} {right[end:].lstrip()}".strip()
