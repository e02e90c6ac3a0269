"""Regular inflections of English words, made and undone."""

from __future__ import annotations

import re

_VOWELS = "aeiou"
_NOUN = re.compile(r"\w{3}(?:ment|[st]ion|ness|ity|ism|[ae]nce|tude|ure)$")
_ADJECTIVE = re.compile(r"(?:\w(?:ful|ous|ive|ed|ing|[ai]ble|less)|\w{3}(?:ic|al)|\w{4}[ae]nt)$")
_VERB_ENDS = ("ed", "er", "ers", "est", "ing", "ings", "ingly", "edly", "es", "ish")
_WHOLE_ENDS = ("able", "ful", "fully", "fulness", "less", "lessly", "lessness")


def forms(word: str) -> set[str]:
    """The regular inflections of a word, itself included: happy, happier, happiness, ..."""
    found = {word, f"{word}s"}
    if word.endswith("y") and word[-2:-1] not in _VOWELS:
        stem = word[:-1] + "i"
        ends = ("es", "ed", "er", "ers", "est", "ly", "ness", "nesses")
        return (
            found | {stem + end for end in ends} | {f"{word}{e}" for e in ("ing", "ingly", "ish")}
        )
    if _NOUN.search(word):
        return found
    found |= {f"{word}ly", f"{word}ness"}
    if word.endswith("le"):
        found.add(f"{word[:-1]}y")
    if word.endswith("ic"):
        found.add(f"{word}ally")
    if _ADJECTIVE.search(word):
        return found
    stems = {word, word[:-1]} if word.endswith("e") else {word}
    if word.endswith("c"):
        stems = {f"{word}k"}
    if re.search(r"[^aeiou][aeiou][bdglmnprt]$|[aeiou]l$", word):
        stems.add(word + word[-1])
    of_verb: tuple[str, ...] = ("ed", "ing") if len(word) <= 3 and word[-1] == "e" else _VERB_ENDS
    found |= {stem + end for stem in stems for end in of_verb if len(stem) > 1}
    return found | {word + end for end in _WHOLE_ENDS}


def stems(word: str) -> set[str]:
    """A word and what it may be made from: walking, walk; boredom, bore."""
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
