"""The word that a misspelt one is meant for."""

from __future__ import annotations

from collections.abc import Iterable

from peclip_fast.prepare.descriptions.inflection import collapsed

_ENDS = ("", "s", "d", "ed", "ing", "ly", "ness", "ful", "fully", "ment")


class Misspellings:
    """Finds a word that was written with a slip or two.

    A slip is a letter dropped, added, changed, or swapped with its neighbour; repeated letters
    count once. Words of 5 letters or more match with one slip, those of ``basic`` from 4 letters
    on. Words of ``basic`` with 7 letters or more match with two slips and with any regular ending,
    if their first letter is right. Words of 3 letters match with two neighbours swapped.

    Args:
        words: words that are known but for repeated letters.
        readable: those that are known with one slip.
        basic: those that are read more generously.
    """

    def __init__(self, words: Iterable[str], readable: Iterable[str], basic: Iterable[str]) -> None:
        self._one: dict[str, list[str]] = {}
        self._two: dict[str, list[str]] = {}
        self._swapped: dict[str, str] = {}
        basic = set(basic)
        self._equal = {collapsed(word): word for word in words}
        for word in sorted({*readable, *basic}):
            if len(word) == 3:
                a, b, c = list(word)
                self._swapped |= {b + a + c: word, a + c + b: word}
            if len(word) > 4 or (len(word) == 4 and word in basic):
                for cut in _cuts(word, 1) | _cuts(collapsed(word), 1):
                    self._one.setdefault(cut, []).append(word)
        for word in basic:
            if len(word) >= 7:
                for cut in _cuts(collapsed(word), 2):
                    self._two.setdefault(cut, []).append(word)

    def meant(self, written: str) -> str | None:
        """The word that ``written``, which isn't a word, is meant for."""
        if len(written) <= 3:
            return self._swapped.get(written)
        if found := self._equal.get(collapsed(written)) or self._nearest(written, self._one, 1):
            return found
        for end in _ENDS:
            stem = written.removesuffix(end)
            if written.endswith(end) and len(stem) >= 5:
                found = self._nearest(stem, self._two, 2)
                if found and found.startswith(written[0]):
                    return found
        spoken = written.replace("ph", "f")
        return self.meant(spoken) if spoken != written else None

    @staticmethod
    def _nearest(letters: str, index: dict[str, list[str]], slips: int) -> str | None:
        """The nearest word of the index within so many slips, the first of the alphabet's."""
        once = collapsed(letters)
        cuts = _cuts(letters, slips) | _cuts(once, slips)
        near = {word for cut in cuts for word in index.get(cut, ())}
        ways = ((min(_distance(letters, w), _distance(once, collapsed(w))), w) for w in near)
        found = min(ways, default=None)
        return found[1] if found and found[0] <= slips else None


def _cuts(word: str, count: int) -> set[str]:
    """The word without up to ``count`` of its letters."""
    found = {word}
    for _ in range(count):
        found |= {cut[:k] + cut[k + 1 :] for cut in found for k in range(len(cut))}
    return found


def _distance(a: str, b: str) -> int:
    """Letters to drop, add, change or swap with a neighbour to make ``b`` of ``a``."""
    before: list[int] = []
    last = list(range(len(b) + 1))
    for i, x in enumerate(a, start=1):
        row = [i]
        for j, y in enumerate(b, start=1):
            steps = min(last[j] + 1, row[j - 1] + 1, last[j - 1] + (x != y))
            if i > 1 and j > 1 and x == b[j - 2] and a[i - 2] == y:
                steps = min(steps, before[j - 2] + 1)
            row.append(steps)
        before, last = last, row
    return last[-1]
