"""Class names: the datasets spell them in many ways, the program in one."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

from peclip_fast.errors import InputError

# The order of the PE-CLIP paper and of the DFEW and FERV39k lists.
SEVEN_EXPRESSIONS = (
    "happiness",
    "sadness",
    "neutral",
    "anger",
    "surprise",
    "disgust",
    "fear",
)

# As spelled by FERV39k and AFEW folders, CREMA-D file names and RAVDESS's manual.
_SPELLINGS = {
    "happy": "happiness",
    "hap": "happiness",
    "sad": "sadness",
    "neu": "neutral",
    "angry": "anger",
    "ang": "anger",
    "surprised": "surprise",
    "dis": "disgust",
    "disgusted": "disgust",
    "fea": "fear",
    "fearful": "fear",
}


def canonical_name(name: str) -> str:
    """``Happy``, ``HAP`` or ``happiness`` as ``happiness``; other names in lower case."""
    lowered = name.strip().lower()
    return _SPELLINGS.get(lowered, lowered)


def composed(name: str) -> str:
    """A name as keyboards write it: archives of some systems hold the dots of ``ü`` apart (NFD)."""
    return unicodedata.normalize("NFC", name)


def label_of(name: str, classes: Sequence[str], source: str, *, exact: bool = False) -> int:
    """Index of a class name in ``classes``.

    Args:
        name: the class as the dataset spells it.
        classes: the class names of the program.
        source: ``file:line`` for the error message.
        exact: take the name as it is, without the known spellings of expressions.

    Raises:
        InputError: the name is none of the classes.
    """
    wanted = name if exact else canonical_name(name)
    try:
        return classes.index(wanted)
    except ValueError:
        known = ", ".join(classes)
        raise InputError(f"{source}: unknown class '{name}'; known classes: {known}") from None
