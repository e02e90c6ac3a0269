"""Names of classes, as they are written and as they are compared."""

from __future__ import annotations

import functools
import unicodedata


def composed(name: str) -> str:
    """A name as keyboards write it: archives of some systems hold the dots of ``ü`` apart (NFD)."""
    return unicodedata.normalize("NFC", name)


@functools.lru_cache(1024)  # a long list has few names, many times
def alike(name: str) -> str:
    """Equal for names that a reader takes for the same: capitals, width and spaces don't count."""
    wide = unicodedata.normalize("NFKC", name).casefold()
    visible = (c for c in unicodedata.normalize("NFKC", wide) if unicodedata.category(c) != "Cf")
    return " ".join("".join(visible).split())
