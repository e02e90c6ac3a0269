"""What the text encoder reads for each class."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from types import MappingProxyType

from peclip_fast.config.names import composed
from peclip_fast.errors import InputError
from peclip_fast.text_files import read_lines, shown

#: Table 1 of the paper: the action units of the seven basic expressions.
PUBLISHED_ACTION_UNITS = {
    "happiness": "Cheek Raiser, Lip Corner Puller.",
    "sadness": "Inner Brow Raiser, Brow Lowerer, Lip Corner Depressor.",
    "neutral": "Relaxed Muscles, Even Eyebrows, Closed Lips, Calm Eyes, Smooth Forehead.",
    "anger": "Brow Lowerer, Upper Lid Raiser, Lid Tightener, Lip Tightener.",
    "surprise": "Inner Brow Raiser, Outer Brow Raiser, Upper Lid Raiser, Jaw Drop.",
    "disgust": "Nose Wrinkler, Lip Corner Depressor, Lower Lip Depressor.",
    "fear": "Inner Brow Raiser, Outer Brow Raiser, Brow Lowerer, Upper Lid Raiser, "
    "Lid Tightener, Lip Stretcher, Jaw Drop.",
}

#: Our own wording, in the manner of Table 1, for the further classes of MAFW and RAVDESS.
OUR_ACTION_UNITS = {
    "contempt": "Lip Corner Puller on one side, Dimpler on one side, Lid Droop.",
    "anxiety": "Inner Brow Raiser, Brow Lowerer, Lid Tightener, Lip Pressor, Blink.",
    "helplessness": "Inner Brow Raiser, Lip Corner Depressor, Chin Raiser, Eyes Down.",
    "disappointment": "Brow Lowerer, Lip Corner Depressor, Lid Droop, Head Down.",
    "calm": "Relaxed Muscles, Closed Lips, Calm Eyes, Slow Blink.",
}

ACTION_UNITS = PUBLISHED_ACTION_UNITS | OUR_ACTION_UNITS


#: Our own wording: what is seen to happen in a face.
OUR_DESCRIPTIONS = {
    "happiness": "The cheeks lift, the corners of the mouth spread into a smile, and small folds "
    "gather beside the eyes.",
    "sadness": "The inner ends of the brows draw up, the gaze drops, and the corners of the mouth "
    "slowly sink.",
    "neutral": "The face rests: level brows, calm eyes, lips lightly closed, and hardly anything "
    "moves.",
    "anger": "The brows press down and together, the eyes stare hard, and the lips tighten into a "
    "thin line.",
    "surprise": "The brows shoot up, the eyes open wide, and the jaw falls so that the mouth hangs "
    "open.",
    "disgust": "The nose wrinkles, the upper lip curls, and the face pulls back as if from a bad "
    "smell.",
    "fear": "The raised brows pull together, the eyes widen and freeze, and the lips stretch "
    "sideways.",
    "contempt": "One corner of the mouth tightens and rises, while the rest of the face stays cool "
    "and the eyelids sink.",
    "anxiety": "The brows knit, the eyes dart about and blink, and the lips are pressed together "
    "or bitten.",
    "helplessness": "The brows slope up in the middle, the eyes look down, the chin puckers, and "
    "the mouth gives way.",
    "disappointment": "The gaze falls, the eyelids grow heavy, the corners of the mouth sag, and "
    "the head sinks a little.",
    "calm": "The face is loose and still, the eyes blink slowly, and the lips touch without "
    "effort.",
}

_BY_CLASS = {"action_units": ACTION_UNITS, "descriptions": OUR_DESCRIPTIONS}
KINDS = (*_BY_CLASS, "class_names")
LABEL = "{label}"  # in a sentence, where a class's name goes

Texts = str | Sequence[str] | Mapping[str, str]
"""One of KINDS, a sentence with LABEL, or a text per class: in their order, or by their names."""


class FileTexts(dict[str, str]):
    """The texts of a file by class; it knows where they stand for as long as it isn't copied."""

    path = "texts"
    lines: Mapping[str, int] = MappingProxyType({})

    def place(self, name: str) -> str:
        """``file:line`` of a class, or the file where it isn't there."""
        return f"{self.path}:{self.lines[name]}" if name in self.lines else self.path


def class_texts(classes: Sequence[str], texts: Texts) -> tuple[str, ...]:
    """The text of every class, in the order of ``classes``.

    ``texts`` is ``"action_units"`` (Table 1), ``"descriptions"`` (sentences of our own),
    ``"class_names"``, a sentence with ``{label}`` where the name goes, or one free text per class,
    in their order or by their names. Raises InputError for a class without a text, a text without
    a class and a wrong number of texts.
    """
    if texts == "class_names":
        return tuple(map(_in_words, classes))
    if isinstance(texts, str) and LABEL in texts:
        return tuple(texts.replace(LABEL, _in_words(name).lower()) for name in classes)
    if isinstance(texts, str):
        if texts not in _BY_CLASS:
            raise InputError(
                f"texts={texts!r}: expected 'action_units', 'descriptions', 'class_names', a "
                f"sentence with {LABEL}, one text per class, or a text file of lines "
                "'class: text'"
            )
        known = _BY_CLASS[texts]
        for name in classes:
            if name not in known:
                raise InputError(
                    f"texts={texts!r}: there are none for the class {name!r}, only for "
                    f"{', '.join(known)}; give texts='class_names', one text per class, or a text "
                    "file of lines 'class: text'"
                )
        return tuple(known[name] for name in classes)
    if isinstance(texts, Mapping):
        return _by_name(classes, texts)
    if len(texts) != len(classes):
        raise InputError(f"texts: expected one per class, {len(classes)}, got {len(texts)}")
    return tuple(texts)


def settled(texts: Texts | Path) -> Texts:
    """``texts``, or what the file says that they name: one there is, or a name in ``.txt``."""
    if isinstance(texts, (str, Path)) and texts not in KINDS and LABEL not in str(texts):
        path = Path(os.path.expanduser(texts))
        if path.suffix == ".txt" or os.path.isfile(path):
            return read_texts(path)
    return str(texts) if isinstance(texts, Path) else texts


def read_texts(path: Path) -> FileTexts:
    """The texts of a file by class, from lines ``class: text``.

    The first colon of a line ends the class. Blank lines and those that begin with ``#`` are
    passed over. Raises InputError with file and line for any other line and for a class that
    comes twice, and for a file that can't be read.
    """
    texts, lines = FileTexts(), dict[str, int]()
    texts.path, texts.lines = str(path), lines
    for source, line in read_lines(path):
        number = int(source.rpartition(":")[2])
        name, _, text = (part.strip() for part in line.partition(":"))
        if not line.lstrip().startswith("#"):
            name = composed(name)
            if not name or not text:
                raise InputError(f"{source}: expected 'class: text', got {shown(line)}")
            if name in texts:
                raise InputError(
                    f"{path}:{number}: the class {name!r} comes twice, before in line {lines[name]}"
                )
            texts[name], lines[name] = text, number
    return texts


def _by_name(classes: Sequence[str], texts: Mapping[str, str]) -> tuple[str, ...]:
    source = texts if isinstance(texts, FileTexts) else FileTexts()
    known = ", ".join(classes)
    for name in texts:
        if name not in classes:
            raise InputError(f"{source.place(name)}: unknown class {name!r}; classes: {known}")
    missing = [name for name in classes if name not in texts]
    if missing:
        raise InputError(f"{source.path}: no text for {', '.join(missing)}; classes: {known}")
    return tuple(texts[name] for name in classes)


def _in_words(name: str) -> str:
    """``pour_water`` and ``PourWater`` as ``Pour water``."""
    pairs = pairwise(f"{name} ")
    spaced = "".join(f"{a} " if a.islower() and b.isupper() else a for a, b in pairs)
    return " ".join(spaced.replace("_", " ").split()).capitalize()
