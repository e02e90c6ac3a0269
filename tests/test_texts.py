"""Texts of classes."""

from __future__ import annotations

import pytest

from peclip_fast import InputError
from peclip_fast.texts import ACTION_UNITS, PUBLISHED_ACTION_UNITS, class_texts


def test_table_1_in_the_order_asked_for():
    texts = class_texts(["fear", "happiness"], "action_units")
    assert texts == (PUBLISHED_ACTION_UNITS["fear"], "Cheek Raiser, Lip Corner Puller.")


def test_every_text_is_of_its_own_and_ends():
    assert len(set(ACTION_UNITS.values())) == len(ACTION_UNITS)
    assert all(text.endswith(".") for text in ACTION_UNITS.values())


def test_names_and_free_texts():
    assert class_texts(["anger", "calm"], "class_names") == ("Anger", "Calm")
    assert class_texts(["a", "b"], ["one", "two"]) == ("one", "two")


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ("action_units", "none for the class 'joy'"),
        ("actions", "texts='actions': expected 'action_units', 'class_names' or a list"),
        (["one"], "expected one per class, 2, got 1"),
    ],
)
def test_what_does_not_fit(texts, message):
    with pytest.raises(InputError, match=message):
        class_texts(["joy", "anger"], texts)
