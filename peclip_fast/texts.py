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


def class_texts(classes: Sequence[str], texts: str | Sequence[str]) -> tuple[str, ...]:
    """The text of every class, in the order of ``classes``.

    ``texts`` is ``"action_units"`` (Table 1), ``"descriptions"`` (sentences of our own),
    ``"class_names"``, or one free text per class. Raises InputError for a class without a text
    and for a wrong number of texts.
    """
    if texts == "class_names":
        return tuple(name.capitalize() for name in classes)
    if isinstance(texts, str):
        if texts not in _BY_CLASS:
            raise InputError(
                f"texts={texts!r}: expected 'action_units', 'descriptions', 'class_names' or a "
                "list of texts"
            )
        known = _BY_CLASS[texts]
        for name in classes:
            if name not in known:
                raise InputError(
                    f"texts={texts!r}: there are none for the class {name!r}, only for "
                    f"{', '.join(known)}; give texts='class_names' or one text per class"
                )
        return tuple(known[name] for name in classes)
    if len(texts) != len(classes):
        raise InputError(f"texts: expected one per class, {len(classes)}, got {len(texts)}")
    return tuple(texts)
