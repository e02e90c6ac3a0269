"""Takes the words that name a class out of a description, so that labels don't leak."""

from __future__ import annotations

import itertools
import re
import unicodedata
from collections.abc import Sequence
from typing import NamedTuple

from peclip_fast.fine_text.lexicon import Lexicon, Naming, data, harmless_words, spellings

_LETTER = r"[^\W_]"
_SIGNED = rf"(?:{_LETTER}|[@$€¥|!+*])"
_WORD = re.compile(rf"{_SIGNED}+(?:['’]{_LETTER}+)*")
_SPACED = re.compile(
    rf"(?<!{_LETTER}){_SIGNED}(?:[\s.\-_*·,/|~]{{1,3}}{_SIGNED}){{2,}}(?!{_LETTER})"
)
_JOINED = re.compile(r"[-_‐‑]\s*|\s+")
_EMOTICON = re.compile(
    r"(?<!\S)(?:>?[:;=]['’]?-?[()\[\]DPpOo/|\\]+|\^_*\^|T_T|-_-|[oO]_[oO]|<3)(?!\w)"
)
_DANGLING = re.compile(
    r"(?:\s|^)(?:an?|the|of|in|with|and|or|but|very|so|quite|slightly|as|being)$", re.IGNORECASE
)


class Removal(NamedTuple):
    """One removed piece: ``text[start:end]`` of the original, the class it names, and why."""

    start: int
    end: int
    word: str
    label: str
    reason: str


class Cleaned(NamedTuple):
    """A description without the words that name a class; ``text`` is empty if nothing is left."""

    text: str
    removed: tuple[Removal, ...]


class LeakFilter:
    """Removes whatever names a class, however it is written.

    Args:
        classes: class names; where one is an expression, the words of all expressions go.
    """

    def __init__(self, classes: Sequence[str]) -> None:
        self.lexicon = Lexicon(classes)

    def __call__(self, text: str) -> Cleaned:
        """The cleaned text and what was removed; a text without such words comes back as it is."""
        plain, places = _plain(text)
        hits: list[tuple[int, int, Naming]] = [
            (m.start(), m.end(), Naming("", "emoticon")) for m in _EMOTICON.finditer(plain)
        ]
        hits += [(k, k + 1, Naming("", "emoji")) for k, sign in enumerate(plain) if _is_emoji(sign)]
        hits += self._spaced(plain)
        hits += self._words(plain)
        removed: list[Removal] = []
        for start, end, naming in sorted(hits, key=lambda hit: (hit[0], -hit[1])):
            first, last = places[start], places[end - 1] + 1
            if not removed or first >= removed[-1].end:
                removed.append(Removal(first, last, text[first:last], *naming))
        return Cleaned(_mended(text, removed), tuple(removed))

    def _spaced(self, plain: str) -> list[tuple[int, int, Naming]]:
        """Words whose letters stand apart: h a p p y, s.a.d."""
        hits = []
        for run in _SPACED.finditer(plain):
            at = [m.start() for m in re.finditer(_SIGNED, run[0]) if m[0] != "*"]
            letters = "".join(run[0][k] for k in at)
            first = 0
            while first < len(letters) - 2:
                for last in range(len(letters), first + 2, -1):
                    found = self._read(letters[first:last], exact=last - first < 5)
                    if found:
                        start, end = run.start() + at[first], run.start() + at[last - 1] + 1
                        hits.append((start, end, Naming(found.label, "spaced out")))
                        first = last - 1
                        break
                first += 1
        return hits

    def _words(self, plain: str) -> list[tuple[int, int, Naming]]:
        tokens = list(_WORD.finditer(plain))
        hits = []
        for k, token in enumerate(tokens):
            if found := self._token(token[0]):
                hits.append((*self._compound_span(plain, token), found))
            for size in range(2, 6):
                group = tokens[k : k + size]
                if len(group) < size:
                    break
                gaps = [plain[a.end() : b.start()] for a, b in itertools.pairwise(group)]
                if not all(_JOINED.fullmatch(gap) for gap in gaps):
                    break
                words = tuple(t[0] for t in group)
                if naming := self.lexicon.phrases.get(words) or self._joined(words, gaps):
                    hits.append((group[0].start(), group[-1].end(), naming))
        return hits

    def _joined(self, words: tuple[str, ...], gaps: list[str]) -> Naming | None:
        """A word cut in pieces: hap-py, sur prised. Free-standing words (in different) are none."""
        found = self.lexicon.exact("".join(words))
        free = harmless_words() - set(data()["fragments"].split())
        cut = any(w not in free or (len(w) == 1 and w not in "ai") for w in words)
        cut = cut or all(gap.strip() for gap in gaps)
        return Naming(found.label, "in pieces") if found and cut else None

    def _token(self, token: str) -> Naming | None:
        core = token.split("'")[0].split("’")[0]
        stripped = core.strip("*!|+")
        return self._read(stripped) or (self._read(core.rstrip("!*")) if core != stripped else None)

    def _read(self, written: str, *, exact: bool = False) -> Naming | None:
        judge = self.lexicon.exact if exact else self.lexicon.judge
        if written.isascii() and written.isalpha():
            return judge(written)
        if sum(sign.isalpha() for sign in written) < 2:
            return None
        if "*" in written:
            pattern = re.compile(re.escape(written).replace(r"\*", "[a-z]"))
            found = (n for word, n in self.lexicon.named.items() if pattern.fullmatch(word))
            naming = next(found, None)
        else:
            naming = next((n for word in spellings(written) if (n := judge(word))), None)
        return Naming(naming.label, "disguised") if naming else None

    @staticmethod
    def _compound_span(plain: str, token: re.Match[str]) -> tuple[int, int]:
        """happy-looking goes as a whole."""
        before = re.search(r"(?:[^\W_]+[-‐‑])*$", plain[: token.start()])
        after = re.match(r"(?:[-‐‑][^\W_]+)*", plain[token.end() :])
        assert before is not None
        assert after is not None  # both match the empty string
        return token.start() - len(before[0]), token.end() + len(after[0])


def _plain(text: str) -> tuple[str, list[int]]:
    """Lower-case letters without accents, invisible signs and foreign look-alikes, and where each
    character stood in the text."""
    table = {
        sign: letter
        for letter, signs in data()["look_alikes"].items()
        for sign in signs
        if not sign.isascii() and sign.isalpha()
    }
    letters, places = [], []
    for place, sign in enumerate(text):
        for part in unicodedata.normalize("NFKD", sign).lower():
            if unicodedata.category(part) not in ("Mn", "Cf"):
                letters.append(table.get(part, part))
                places.append(place)
    return "".join(letters), places


def _is_emoji(sign: str) -> bool:
    return "\U0001f000" <= sign <= "\U0001faff" or "\u2600" <= sign <= "\u27bf"


def _mended(text: str, removed: Sequence[Removal]) -> str:
    """The text without the removed pieces, without what then hangs in the air."""
    if not removed:
        return text
    result, at = "", 0
    for piece in removed:
        result += text[at : piece.start]
        at = piece.end
        if re.match(r"\W*(?:[.,;:!?]|$)", text[at:]):
            while dangling := _DANGLING.search(result.rstrip()):
                result = result.rstrip()[: dangling.start()]
        if not result or result[-1].isspace() or not result.strip():
            at += len(text[at:]) - len(text[at:].lstrip(" "))
    result += text[at:]
    result = re.sub(r"[ \t]+([.,;:!?])", r"\1", result)
    result = re.sub(r"[,;:]+(?=[,;:.!?])", "", re.sub(r"[ \t]{2,}", " ", result))
    result = re.sub(r"^[\s,;:.!?]+", "", result).strip()
    return result if re.search(r"\w", result) else ""
