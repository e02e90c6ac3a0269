"""What the text encoder reads for each class."""

from __future__ import annotations

from collections.abc import Sequence

from peclip_fast.errors import InputError

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


def class_texts(classes: Sequence[str], texts: str | Sequence[str]) -> tuple[str, ...]:
    """The text of every class, in the order of ``classes``.

    ``texts`` is ``"action_units"`` (Table 1), ``"class_names"``, or one free text per class.
    Raises InputError for a class without action units and for a wrong number of texts.
    """
    if texts == "class_names":
        return tuple(name.capitalize() for name in classes)
    if texts == "action_units":
        for name in classes:
            if name not in ACTION_UNITS:
                raise InputError(
                    f"texts='action_units': there are none for the class {name!r}, only for "
                    f"{', '.join(ACTION_UNITS)}; give texts='class_names' or one text per class"
                )
        return tuple(ACTION_UNITS[name] for name in classes)
    if isinstance(texts, str):
        raise InputError(
            f"texts={texts!r}: expected 'action_units', 'class_names' or a list of texts"
        )
    if len(texts) != len(classes):
        raise InputError(f"texts: expected one per class, {len(classes)}, got {len(texts)}")
    return tuple(texts)
