"""Texts of classes."""

from __future__ import annotations

from pathlib import Path

import open_clip
import pytest

from peclip_fast import InputError
from peclip_fast.config.texts import (
    ACTION_UNITS,
    OUR_DESCRIPTIONS,
    PUBLISHED_ACTION_UNITS,
    class_texts,
    settled,
)
from peclip_fast.data.datasets import dfew, mafw, ravdess


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
    assert class_texts(["a", "b"], {"b": "two", "a": "one"}) == ("one", "two")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("pour_water", "Pour water"),
        ("PourWater", "Pour water"),
        ("pour water", "Pour water"),
        ("happiness_then_sadness", "Happiness then sadness"),
        ("ÖlEinfüllen_2", "Öl einfüllen 2"),
        ("push-up", "Push-up"),
        ("TV", "Tv"),
        ("x", "X"),
        ("倒水", "倒水"),
    ],
)
def test_names_of_classes_in_words(name, text):
    assert class_texts([name], "class_names") == (text,)


@pytest.mark.parametrize("classes", [dfew.CLASSES, mafw.CLASSES, ravdess.CLASSES], ids=len)
def test_names_of_the_datasets_are_single_words(classes):
    assert class_texts(classes, "class_names") == tuple(name.capitalize() for name in classes)


@pytest.fixture
def write(tmp_path):
    """Writes a file of texts and gives its path."""

    def write(content, name="texts.txt"):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return str(path)

    return write


def test_a_file_of_texts(write):
    path = write("# water\r\n\r\n pour_water :Water: from a jug. # 1\r\nu\u0308ben: 水を注ぐ")
    texts = settled(path)
    assert texts == {"pour_water": "Water: from a jug. # 1", "üben": "水を注ぐ"}
    assert settled(Path(path)) == texts
    assert class_texts(["üben", "pour_water"], texts) == ("水を注ぐ", "Water: from a jug. # 1")
    assert settled(write("\ufeffa: one")) == {"a": "one"}  # some editors begin with a mark
    assert settled(write("a: one", "texts")) == {"a": "one"}  # any name of a file that is there


def test_what_is_no_file_stays(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "class_names").write_text("a: one")
    for texts in ("class_names", "actions", ["one.txt"], "x" * 5000, "a\0b"):
        assert settled(texts) == texts


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a: one\nb\n", r"texts\.txt:2: expected 'class: text', got 'b'"),
        ("a: one\n: two", r"texts\.txt:2: expected 'class: text', got ': two'"),
        ("a:\n", r"texts\.txt:1: expected 'class: text', got 'a:'"),
        ("#\na: one\nb: two\na: one", r"texts\.txt:4: the class 'a' comes twice, .* line 2"),
        (b"a: \xff", r"texts\.txt:1: expected text in UTF-8, got the byte 0xff"),
        ("a: one\nc: two\nb: 3", r"^\S*texts\.txt:2: unknown class 'c'; classes: a, b, d$"),
        ("b: one", r"^\S*texts\.txt: no text for a, d; classes: a, b, d$"),
        ("# nothing", r"texts\.txt: no text for a, b, d"),
    ],
)
def test_files_that_do_not_fit(write, content, message):
    with pytest.raises(InputError, match=message):
        class_texts(["a", "b", "d"], settled(write(content)))


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(InputError, match=r"none\.txt: can't be read: No such file"):
        settled(str(tmp_path / "none.txt"))


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ("action_units", "none for the class 'joy'"),
        ("descriptions", "texts='descriptions': there are none for the class 'joy'"),
        ("descriptions", "one text per class, or a text file of lines 'class: text'"),
        (
            "actions",
            "texts='actions': expected 'action_units', 'descriptions', 'class_names', a ",
        ),
        (["one"], "expected one per class, 2, got 1"),
        ({"joy": "one"}, "^texts: no text for anger; classes: joy, anger$"),
        ({"joy": "one", "anger": "two", "fear": "3"}, "^texts: unknown class 'fear'; classes: joy"),
    ],
)
def test_what_does_not_fit(texts, message):
    with pytest.raises(InputError, match=message):
        class_texts(["joy", "anger"], texts)
