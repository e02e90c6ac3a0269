"""The words that name a class, with their inflections, and the phrases that do."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Sequence
from importlib.resources import files
from typing import Any

import yaml

from peclip_fast.prepare.descriptions.inflection import forms, stems

_SMALL = ("and", "down", "for", "from", "into", "off", "out", "over", "the", "with")
_CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z])|[\W_\d]+")


@functools.cache
def data() -> dict[str, Any]:
    """The word lists of words.yaml."""
    text = (files("peclip_fast.prepare.descriptions") / "words.yaml").read_text(encoding="utf-8")
    loaded: dict[str, Any] = yaml.safe_load(text)
    return loaded


class Lexicon:
    """All forms of the words that name the classes.

    Where one of the classes is an expression, the words of all expressions name a class: texts
    made for one dataset are read with the classes of another.

    Attributes:
        named: each form, in lower case, and the class that it names.
        own: the forms in ``named`` that are a class's own name or a part of it.
        phrases: regular expressions, in which a blank stands for what may be between two words,
            and the classes that they name.

    Args:
        classes: the class names; parts are joined by blanks, ``_``, ``-`` or capital letters.
    """

    def __init__(self, classes: Sequence[str]) -> None:
        self.named: dict[str, str] = {}
        self.phrases: list[tuple[str, str]] = []
        names = {name: _parts(name) for name in classes}
        for name, parts in names.items():
            self.named.update(dict.fromkeys((*parts, "".join(parts)), name))
        self.named.pop("", None)
        self.own = frozenset(self.named)
        expressions = {label: text.split() for label, text in data()["expressions"].items()}
        known = {form for listed in expressions.values() for w in listed for form in forms(w)}
        if known & self.own:
            for label, listed in expressions.items():
                self._add(label, [label, *listed])
                for word in data()["exact"].get(label, "").split():
                    self._add_form(label, word)
                self.phrases += [(phrase, label) for phrase in data()["phrases"].get(label, ())]
        for name, parts in names.items():
            self._add(name, sorted(s for part in parts if part not in known for s in stems(part)))
        self._prefixes = tuple(data()["prefixes"].split())

    def _add(self, label: str, listed: Iterable[str]) -> None:
        for word in listed:
            for form in forms(word) if "-" not in word else (word,):
                self._add_form(label, form)

    def _add_form(self, label: str, form: str) -> None:
        if "-" in form:
            self.phrases.append((form.replace("-", " "), label))
        self.named.setdefault(form.replace("-", ""), label)

    def label(self, word: str) -> str | None:
        """The class that a word of lower-case letters names, perhaps behind a prefix, or None."""
        if word in self.named or not word.startswith(self._prefixes):
            return self.named.get(word)
        rests = (word.removeprefix(prefix) for prefix in self._prefixes if word.startswith(prefix))
        return next(
            (self.named[rest] for rest in rests if len(rest) > 3 and rest in self.named), None
        )


def _parts(name: str) -> list[str]:
    parts = [part.lower() for part in _CAMEL.split(name)]
    return [part for part in parts if len(part) >= 3 and part not in _SMALL]
