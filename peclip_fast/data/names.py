"""Class names: the datasets spell them in many ways, the program in one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from peclip_fast.config.names import alike, composed
from peclip_fast.errors import InputError
from peclip_fast.text_files import shown

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


def one_spelling(found: Iterable[tuple[str, str]]) -> set[str]:
    """The class names that were found, each in the one spelling that it has.

    Args:
        found: names, and the ``file:line`` or folder of each, for the error message.

    Raises:
        InputError: two spellings differ in capitals, width, spaces or invisible characters only.
    """
    spellings: dict[str, tuple[str, str]] = {}
    for written, source in found:
        name = composed(written)
        former, first = spellings.setdefault(alike(name), (name, source))
        if former != name:
            raise InputError(
                f"{source}: the class {shown(name)} is {shown(former)} in {first}; expected one "
                "spelling"
            )
    return {name for name, _ in spellings.values()}


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
        same = [known for known in classes if alike(known) == alike(name)]
        meant = f", but '{same[0]}' is one" if same else ""
        known = ", ".join(classes)
        raise InputError(
            f"{source}: unknown class {shown(name)}{meant}; known classes: {known}"
        ) from None
