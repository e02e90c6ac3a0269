"""Texts of classes."""

from __future__ import annotations

import open_clip
import pytest

from peclip_fast import InputError
from peclip_fast.data import dfew, mafw, ravdess
from peclip_fast.texts import (
    ACTION_UNITS,
    OUR_DESCRIPTIONS,
    PUBLISHED_ACTION_UNITS,
    class_texts,
)


def test_table_1_in_the_order_asked_for():
    texts = class_texts(["fear", "happiness"], "action_units")
    assert texts == (PUBLISHED_ACTION_UNITS["fear"], "Cheek Raiser, Lip Corner Puller.")


@pytest.mark.parametrize("texts", [ACTION_UNITS, OUR_DESCRIPTIONS], ids=["units", "descriptions"])
def test_every_text_is_of_its_own_and_ends(texts):
    assert len(set(texts.values())) == len(texts)
    assert all(text.endswith(".") for text in texts.values())


@pytest.mark.parametrize("classes", [dfew.CLASSES, mafw.CLASSES, ravdess.CLASSES], ids=len)
def test_descriptions_of_the_classes_of_the_datasets(classes):
    """They fit beside 16 context tokens, as many as CoOp's own, and don't name the class."""
    encode = open_clip.tokenizer.SimpleTokenizer().encode
    for label, text in zip(classes, class_texts(classes, "descriptions"), strict=True):
        assert len(encode(text)) + 2 + 16 <= 77
        assert label not in text.lower()


def test_names_and_free_texts():
    assert class_texts(["anger", "calm"], "class_names") == ("Anger", "Calm")
    assert class_texts(["a", "b"], ["one", "two"]) == ("one", "two")


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ("action_units", "none for the class 'joy'"),
        ("descriptions", "texts='descriptions': there are none for the class 'joy'"),
        (
            "actions",
            "texts='actions': expected 'action_units', 'descriptions', 'class_names' or a list",
        ),
        (["one"], "expected one per class, 2, got 1"),
    ],
)
def test_what_does_not_fit(texts, message):
    with pytest.raises(InputError, match=message):
        class_texts(["joy", "anger"], texts)
