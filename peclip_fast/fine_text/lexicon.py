"""The words that name a class, in every form in which they may be written."""

from __future__ import annotations

import functools
import itertools
import re
from collections.abc import Iterable, Iterator, Sequence
from importlib.resources import files
from typing import Any, NamedTuple

import yaml

from peclip_fast.models.tokenizer import tokenizer

PREFIXES = ("un", "non", "over", "super", "hyper", "semi", "anti", "quasi")
_VOWELS = "aeiou"
_UNNAMING = frozenset(
    [
        "a",
        "an",
        "and",
        "at",
        "by",
        "down",
        "for",
        "from",
        "in",
        "into",
        "is",
        "of",
        "off",
        "on",
        "or",
        "out",
        "over",
        "the",
        "to",
        "up",
    ]
)


class Naming(NamedTuple):
    """The class that a word gives away, and how (``class name``, ``synonym``, ``misspelt``)."""

    label: str
    reason: str


@functools.cache
def data() -> dict[str, Any]:
    """The word lists of words.yaml."""
    text = (files("peclip_fast.fine_text") / "words.yaml").read_text(encoding="utf-8")
    loaded: dict[str, Any] = yaml.safe_load(text)
    return loaded


@functools.cache
def harmless_words() -> frozenset[str]:
    """What is never taken for a misspelling: the whole words of CLIP's vocabulary, and ours."""
    whole = (word[:-4] for word in tokenizer().encoder if word.endswith("</w>"))
    listed = data()["harmless"].split()
    return frozenset(w for w in whole if w.isascii() and w.isalpha()) | frozenset(listed)


def forms(word: str) -> set[str]:
    """The regular inflections of a word, itself included: happy, happier, happiness, ..."""
    found = {word, f"{word}s", f"{word}ly", f"{word}ness"}
    if word.endswith("y") and word[-2:-1] not in _VOWELS:
        stem = word[:-1] + "i"
        return found | {stem + end for end in ("es", "ed", "er", "est", "ly", "ness")}
    stems = {word, word[:-1]} if word.endswith("e") else {word}
    if re.search(r"[^aeiou][aeiou][bdglmnprt]$", word):
        stems.add(word + word[-1])
    ends = ("ed", "er", "est", "ing", "ingly", "edly", "es")
    found |= {stem + end for stem in stems for end in ends if len(stem) > 2}
    return found | {f"{word}{end}" for end in ("ful", "fully", "less", "lessly", "lessness")}


def stems(word: str) -> set[str]:
    """A class name and what it may be made from: walking, walk; boredom, bore."""
    found = {word}
    for end in ("iness", "ness", "dom", "ment", "ing", "ion", "ed", "ly", "ity", "ful", "s"):
        stem = word.removesuffix(end)
        if stem == word or len(stem) < 3:
            continue
        found |= {stem, stem + "e"} if end in ("ing", "ion", "ed", "ity") else {stem}
        if end == "iness":
            found.add(stem + "y")
        if len(stem) > 3 and stem[-1] == stem[-2]:
            found.add(stem[:-1])
    return found


class Lexicon:
    """All forms of the words that name the classes, and a judge of any word.

    Where one of the classes is an expression, the words of all expressions name a class: texts
    made for one dataset are read with the classes of another.

    Args:
        classes: the class names; parts are joined by blanks, ``_``, ``-`` or capital letters.
    """

    def __init__(self, classes: Sequence[str]) -> None:
        names = [_parts(name) for name in classes]
        expressions = data()["expressions"]
        self.named: dict[str, Naming] = {}
        self.phrases: dict[tuple[str, ...], Naming] = {}
        known = {part for parts in names for part in parts}
        if any(known & forms(word) for text in expressions.values() for word in text.split()):
            for label, text in expressions.items():
                self._add(label, text.split(), "synonym")
                self._add(label, [label], "class name")
                for phrase in data()["phrases"].get(label, ()):
                    self.phrases[tuple(phrase.split())] = Naming(label, "phrase")
        for name, parts in zip(classes, names, strict=True):
            for part in parts:
                if part not in self.named and part not in _UNNAMING:
                    self._add(name, sorted(stems(part)), "inflection")
                    self.named[part] = Naming(name, "class name")
        self._near: dict[str, Naming] = {}
        for word, naming in self.named.items():
            if len(word) >= 5:
                for shorter in _shorter(word):
                    self._near.setdefault(shorter, Naming(naming.label, "misspelt"))
        self._single = {_collapsed(word): naming for word, naming in self.named.items()}
        self.judge = functools.lru_cache(maxsize=100_000)(self._judge)

    def _add(self, label: str, words: Iterable[str], reason: str) -> None:
        for word in words:
            if "-" in word:
                self.phrases[tuple(word.split("-"))] = Naming(label, "phrase")
                continue
            for form in forms(word):
                self.named.setdefault(form, Naming(label, reason if form == word else "inflection"))

    def exact(self, word: str) -> Naming | None:
        """Whether the word, perhaps behind a prefix, is a form of a naming word."""
        if word in self.named:
            return self.named[word]
        for prefix in PREFIXES:
            rest = word.removeprefix(prefix)
            if rest != word and len(rest) > 3 and rest in self.named:
                return Naming(self.named[rest].label, "inflection")
        return None

    def _judge(self, word: str) -> Naming | None:
        """What a word of letters gives away, or None.

        A harmless word is never a misspelling. Any other word of 4 letters or more is one, if it
        is equal to a form but for repeated letters, or if dropping one letter of each makes it
        equal to a form of 5 letters or more.
        """
        if found := self.exact(word):
            return found
        compound = self._compound(word)
        if word in harmless_words():
            return compound if word.startswith("happy") else None
        if len(word) >= 4 and (same := self._single.get(_collapsed(word))):
            return Naming(same.label, "misspelt")
        if len(word) >= 4:
            for shorter in sorted(_shorter(word)):
                if shorter in self._near:
                    return self._near[shorter]
        return compound

    def _compound(self, word: str) -> Naming | None:
        """``happyface``, ``sadlooking``: a form and a harmless word, written together."""
        for cut in range(3, len(word) - 2):
            for form, rest in ((word[:cut], word[cut:]), (word[cut:], word[:cut])):
                if form in self.named and rest in harmless_words():
                    return Naming(self.named[form].label, "compound")
        return None


def _parts(name: str) -> list[str]:
    split = re.sub(r"([a-z])([A-Z])", r"\1 \2", name)
    return [part for part in re.split(r"[^a-z]+", split.lower()) if len(part) >= 3]


def _shorter(word: str) -> set[str]:
    return {word, *(word[:k] + word[k + 1 :] for k in range(len(word)))}


def _collapsed(word: str) -> str:
    return "".join(letter for letter, _ in itertools.groupby(word))


def spellings(written: str) -> Iterator[str]:
    """The words of letters that digits and signs for letters may stand for; at most 16."""
    table: dict[str, str] = {}
    for letter, signs in data()["look_alikes"].items():
        for sign in signs:
            table[sign] = table.get(sign, "") + letter
    choices = [table.get(sign, sign) for sign in written]
    for letters in itertools.islice(itertools.product(*choices), 16):
        yield "".join(letters)
