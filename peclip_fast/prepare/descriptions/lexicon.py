"""The words that name a class, in every form in which they may be written."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Sequence
from importlib.resources import files
from typing import Any, NamedTuple

import yaml

from peclip_fast.prepare.descriptions.inflection import forms, stems
from peclip_fast.prepare.descriptions.misspelling import Misspellings

_SMALL = ("and", "down", "for", "from", "into", "off", "out", "over", "the", "with")
_CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z])|[\W_\d]+")
_UNUSUAL = re.compile(r"(?:ish|able|less|lessly|lessness|fulness|nesses|ers|ings)$")


class Naming(NamedTuple):
    """The class that a word gives away, and how (``class name``, ``synonym``, ``misspelt``)."""

    label: str
    reason: str


@functools.cache
def data() -> dict[str, Any]:
    """The word lists of words.yaml."""
    text = (files("peclip_fast.prepare.descriptions") / "words.yaml").read_text(encoding="utf-8")
    loaded: dict[str, Any] = yaml.safe_load(text)
    return loaded


@functools.cache
def words(key: str) -> frozenset[str]:
    """A list of words.yaml as a set."""
    return frozenset(data()[key].split())


@functools.cache
def harmless_words() -> frozenset[str]:
    """Words that are near a naming word, or hold one, and name nothing themselves."""
    text = (files("peclip_fast.prepare.descriptions") / "harmless.txt").read_text(encoding="utf-8")
    lines = (line for line in text.splitlines() if not line.startswith("#"))
    return frozenset(word for line in lines for word in line.split())


class Lexicon:
    """All forms of the words that name the classes, and a judge of any word.

    Where one of the classes is an expression, the words of all expressions name a class: texts
    made for one dataset are read with the classes of another.

    Args:
        classes: the class names; parts are joined by blanks, ``_``, ``-`` or capital letters.
    """

    def __init__(self, classes: Sequence[str]) -> None:
        self.named: dict[str, Naming] = {}
        self.phrases: list[tuple[str, Naming]] = []
        self._readable: set[str] = set()  # what is known in spite of a slip
        names = {name: _parts(name) for name in classes}
        for name, parts in names.items():
            self.named.update(dict.fromkeys(parts, Naming(name, "class name")))
        generous = words("often") | set(self.named)
        expressions = {label: text.split() for label, text in data()["expressions"].items()}
        known = {form for listed in expressions.values() for w in listed for form in forms(w)}
        if known & set(self.named):
            for label, listed in expressions.items():
                self._add(label, [label, *listed], "synonym")
                for word in data()["exact"].get(label, "").split():
                    self._add_form(label, word, word, "synonym")
                for phrase in data()["phrases"].get(label, ()):
                    self.phrases.append((phrase, Naming(label, "phrase")))
        for name, parts in names.items():
            made = (stem for part in parts if part not in known for stem in stems(part))
            self._add(name, sorted(made), "inflection")
        self._misspelt = Misspellings(self.named, self._readable, generous & set(self.named))
        self.judge = functools.lru_cache(maxsize=100_000)(self._judge)

    def _add(self, label: str, listed: Iterable[str], reason: str) -> None:
        for word in listed:
            for form in forms(word) if "-" not in word else (word,):
                self._add_form(label, word, form, reason if form == word else "inflection")

    def _add_form(self, label: str, word: str, form: str, reason: str) -> None:
        if "-" in form:
            self.phrases.append((form.replace("-", " "), Naming(label, "phrase")))
            form = form.replace("-", "")
        self.named.setdefault(form, Naming(label, reason))
        known = len(word) >= 5 or len(form) >= 7 or word in words("often")
        if known and not _UNUSUAL.search(form[len(word) :]):
            self._readable.add(form)

    def exact(self, word: str) -> Naming | None:
        """Whether the word, perhaps behind a prefix, is a form of a naming word."""
        if word in self.named:
            return self.named[word]
        if word not in harmless_words():
            for cut in range(1, len(word) - 3):
                if word[:cut] in words("before") and word[cut:] in self.named:
                    return Naming(self.named[word[cut:]].label, "inflection")
        return None

    def _judge(self, word: str) -> Naming | None:
        """What a word of lower-case letters gives away, or None."""
        if found := self.exact(word):
            return found
        if word in harmless_words():
            return None
        if found := self._compound(word):
            return Naming(found.label, "compound")
        meant = self._misspelt.meant(word)
        rest = word.removeprefix("un").removeprefix("over")
        if not meant and rest != word and len(rest) > 4 and rest not in harmless_words():
            meant = self._misspelt.meant(rest)
        return Naming(self.named[meant].label, "misspelt") if meant else None

    def _compound(self, word: str) -> Naming | None:
        """``happyface``, ``sadlooking``, ``verysad``: a form and something else, in one word."""
        for cut in range(2, len(word) - 1):
            head, tail = word[:cut], word[cut:]
            if head in self.named and (tail in words("after") or len(head) >= 5):
                return self.named[head]
            if tail in self.named and (
                head in words("before") or tail in words("endings") or len(tail) >= 6
            ):
                return self.named[tail]
        return None


@functools.lru_cache(maxsize=8)
def lexicon(classes: tuple[str, ...]) -> Lexicon:
    """The lexicon of these classes, made once: it takes half a second."""
    return Lexicon(classes)


def _parts(name: str) -> list[str]:
    parts = [part.lower() for part in _CAMEL.split(name)]
    return [part for part in parts if len(part) >= 3 and part not in _SMALL]
