"""Takes the words that name a class out of a description, so that labels don't leak."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from peclip_fast.prepare.descriptions.disguise import is_emoji, plain, spellings
from peclip_fast.prepare.descriptions.lexicon import Naming, data, lexicon
from peclip_fast.prepare.descriptions.mending import mended

_LETTER = r"[^\W_]"
_SIGNED = rf"(?:{_LETTER}|[@$€¥|!+*])"
_WORD = re.compile(rf"{_SIGNED}+(?:['’]{_LETTER}+)*")
_SPACED = re.compile(
    rf"(?<!{_LETTER}){_SIGNED}(?:[\s.\-_*·•,/|~]{{1,3}}{_SIGNED}){{2,}}(?!{_LETTER})"
)
_HYPHEN = "[-‐‑⁃−]"
_TIGHT = re.compile(rf"(?:{_HYPHEN}|[^\w\s]{{1,2}}|_+|{_HYPHEN}\s+)\Z")
_JOINS = re.compile(rf"{_HYPHEN}\w|\s[^\Wai]\b")  # what comes next belongs to it
_LOOSE = re.compile(r"\s{1,3}\Z")
_CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z])|\d+")
_EMOTICON = re.compile(
    r"""(?<![^\s(])(?:[>d]?[:;=]['’]?[-^o]?[()\[\]dpo/|\\3*@$x]+|x-?d+|\^[_.-]*\^|t[_.]t|-[_.]+-|o[_.]o
    |>[_.]<|<3|u[_.]u|\([:;]|\):|¯\\?_*\(.*?\)_*/?¯|\\o/)(?![\w(])""",
    re.VERBOSE,
)
_PIECES = 5  # that a word may be cut into


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


class _Hit(NamedTuple):
    start: int
    end: int
    naming: Naming


class LeakFilter:
    """Removes whatever names a class, however it is written.

    Args:
        classes: class names; where one is an expression, the words of all expressions go.
    """

    def __init__(self, classes: Sequence[str]) -> None:
        self.lexicon = lexicon(tuple(classes))
        self._phrases = _pattern([phrase for phrase, _ in self.lexicon.phrases])
        self._labelled = [(_pattern([text]), naming) for text, naming in self.lexicon.phrases]
        self._kept = _pattern(data()["kept"])

    def __call__(self, text: str) -> Cleaned:
        """The cleaned text and what was removed; a text without such words comes back as it is."""
        read, places = plain(text)
        kept = [match.span() for match in self._kept.finditer(read)]
        hits = [
            hit
            for hit in self._hits(text, read, places)
            if hit.naming.reason == "class name"
            or not any(start <= hit.start and hit.end <= end for start, end in kept)
        ]
        removed: list[Removal] = []
        for start, end, naming in sorted(hits, key=lambda hit: (hit.start, -hit.end)):
            first, last = places[start], places[end - 1] + 1
            if not removed or last > removed[-1].end:
                if removed and first < removed[-1].end:
                    first = removed.pop().start
                removed.append(Removal(first, last, text[first:last], *naming))
        return Cleaned(mended(text, [(r.start, r.end) for r in removed]), tuple(removed))

    def _hits(self, text: str, read: str, places: list[int]) -> Iterator[_Hit]:
        for match in _EMOTICON.finditer(read):
            yield _Hit(*match.span(), Naming("", "emoticon"))
        if not read.isascii():
            for place, sign in enumerate(read):
                if is_emoji(sign):
                    yield _Hit(place, place + 1, Naming("", "emoji"))
        for match in self._phrases.finditer(read):
            fitting = (naming for pattern, naming in self._labelled if pattern.fullmatch(match[0]))
            yield _Hit(*match.span(), next(fitting, Naming("", "phrase")))
        yield from self._spaced(read)
        tokens = list(_WORD.finditer(read))
        for token in tokens:
            written = text[places[token.start()] : places[token.end() - 1] + 1]
            if found := self._token(token[0], written):
                yield _Hit(*_chain(read, token), found)
        yield from self._in_pieces(read, tokens)

    def _spaced(self, read: str) -> Iterator[_Hit]:
        """Words whose letters stand apart: h a p p y, s.a.d."""
        for run in _SPACED.finditer(read):
            at = [m.start() for m in re.finditer(_SIGNED, run[0]) if m[0] not in "*|"]
            letters = "".join(run[0][k] for k in at)
            first = 0
            while first < len(letters) - 2:
                for last in range(len(letters), first + 2, -1):
                    found = self._read(letters[first:last], exact=last - first < 5)
                    if found:
                        start, end = run.start() + at[first], run.start() + at[last - 1] + 1
                        yield _Hit(start, end, Naming(found.label, "spaced out"))
                        first = last - 1
                        break
                first += 1

    def _in_pieces(self, read: str, tokens: Sequence[re.Match[str]]) -> Iterator[_Hit]:
        """Words that are cut: hap-py, sur prised; not those words that stand side by side."""
        for first, token in enumerate(tokens):
            joined, tight, single = token[0], True, len(token[0]) == 1
            written = joined
            for last in range(first + 1, min(first + _PIECES, len(tokens))):
                gap = read[tokens[last - 1].end() : tokens[last].start()]
                tight = tight and _TIGHT.match(gap) is not None
                if not tight and not (_LOOSE.match(gap) or _TIGHT.match(gap)):
                    break
                piece = tokens[last][0]
                single = single or len(piece) == 1
                joined, written = joined + piece, f"{written} {piece}"
                if tight:
                    found = self._read(joined, exact=not single or len(joined) < 4)
                else:
                    found = self.lexicon.named.get(joined)
                    apart = written in data()["side_by_side"] or _JOINS.match(
                        read, tokens[last].end()
                    )
                    if len(joined) < 4 or apart:
                        found = None
                if found:
                    naming = Naming(found.label, "in pieces")
                    yield _Hit(token.start(), tokens[last].end(), naming)

    def _token(self, read: str, written: str) -> Naming | None:
        """What one word gives away; ``written`` still has its capitals."""
        if read.isascii() and read.isalpha():
            found = self.lexicon.judge(read)
        else:
            core = re.split("['’]", read)[0].strip("*!|+")
            found = self._read(core) or self._read(re.sub("['’*]", "", read), exact=True)
            found = found or (self._read(core.rstrip("!*")) if core != read else None)
        if not found and (len(parts := _CAMEL.split(written)) > 1):
            named = [self.lexicon.exact(plain(part)[0]) for part in parts if len(part) >= 3]
            found = next(filter(None, named), None)
        return found

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


def _pattern(phrases: Sequence[str]) -> re.Pattern[str]:
    """Any of the phrases as whole words, with anything small for a blank."""
    lines = (re.sub(r"(?<=[|:]) ", "", " ".join(phrase.split())) for phrase in phrases)
    spaced = (line.replace(" ", r"[^\w.;:!?]{1,3}") for line in lines)
    return re.compile(rf"(?<![a-z])(?:{'|'.join(spaced) or '(?!)'})(?![a-z])")


def _chain(read: str, token: re.Match[str]) -> tuple[int, int]:
    """Where the hyphened word around a token is: happy-looking goes as a whole."""
    before = re.search(rf"(?:[^\W_]+{_HYPHEN})*\Z", read[: token.start()])
    after = re.match(rf"(?:{_HYPHEN}[^\W_]+)*", read[token.end() :])
    assert before is not None
    assert after is not None  # both match the empty string
    return token.start() - len(before[0]), token.end() + len(after[0])
