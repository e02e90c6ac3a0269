"""Nothing that names a class survives the filter, and harmless texts come back as they are."""

from __future__ import annotations

import random

import pytest

from peclip_fast.data.names import SEVEN_EXPRESSIONS
from peclip_fast.fine_text.leak_filter import LeakFilter
from peclip_fast.texts import OUR_DESCRIPTIONS, PUBLISHED_ACTION_UNITS

NAMING = [
    "happy",
    "happier",
    "happily",
    "happiness",
    "unhappy",
    "joyful",
    "delighted",
    "furious",
    "terrified",
    "scared",
    "disgusted",
    "revolted",
    "astonished",
    "sorrowful",
    "miserable",
    "expressionless",
    "sadness",
    "angrily",
    "surprisingly",
    "neutral",
]
HARMLESS = (
    "A stranger near the ranger said that the hanger made no danger; things happen, and the "
    "products neutralize or surpass it in different parts, a version of the same.",
    "The person smiles, frowns, grins, scowls, gasps and cries while the eyelids blink.",
    "The lips stretch, the brows lower, and the corners of the mouth rise; teeth have bitten.",
)


@pytest.fixture(scope="module")
def clean() -> LeakFilter:
    return LeakFilter(SEVEN_EXPRESSIONS)


def disguises(word: str, rng: random.Random) -> list[str]:
    """The word in the ways in which it may slip through."""
    inner = rng.randrange(1, len(word) - 1)
    return [
        word,
        word.upper(),
        f"{word}-looking",
        " ".join(word),
        ".".join(word),
        word.replace("a", "@").replace("e", "3").replace("i", "1"),
        word.replace("a", "а").replace("e", "е").replace("o", "о"),
        f"{word[:inner]}\u200b{word[inner:]}",
        f"{word[:inner]}{word[inner]}{word[inner:]}",
        f"{word[:-1]}{word[-1] * 4}",
    ]


def test_nothing_that_names_a_class_survives(clean: LeakFilter) -> None:
    rng = random.Random()
    for word in NAMING:
        for form in disguises(word, rng):
            words = rng.choice(list(OUR_DESCRIPTIONS.values())[:2]).split()
            words.insert(rng.randrange(len(words) + 1), form)
            found = clean(" ".join(words))
            assert form.lower() not in found.text.lower(), (form, found)
            assert found.removed, form


@pytest.mark.parametrize(
    "word",
    ["hapy", "angrry", "suprised", "4nger", "$ad", "hap-py", "poker-faced", "😀", "dissapointed"],
)
def test_only_the_word_goes(clean: LeakFilter, word: str) -> None:
    found = clean(f"A {word} mouth opens.")
    assert found.text in ("A mouth opens.", "mouth opens.")
    assert [piece.word for piece in found.removed] == [word]


@pytest.mark.parametrize("text", HARMLESS)
def test_harmless_texts_come_back(clean: LeakFilter, text: str) -> None:
    assert clean(text) == (text, ())


def test_our_own_texts_lose_at_most_the_word_calm(clean: LeakFilter) -> None:
    for text in (*OUR_DESCRIPTIONS.values(), *PUBLISHED_ACTION_UNITS.values()):
        assert {piece.word.lower() for piece in clean(text).removed} <= {"calm"}


def test_what_hangs_in_the_air_goes_too(clean: LeakFilter) -> None:
    assert (
        clean("The brows rise in surprise, the jaw drops.").text == "The brows rise, the jaw drops."
    )
    assert clean("Happy!").text == ""


def test_the_classes_of_another_task_go_with_their_stems() -> None:
    clean = LeakFilter(["walking", "BrushingTeeth"])
    assert (
        clean("She walks, brushed the teeth and looks happy.").text == "She, the and looks happy."
    )
