"""Each sentence that names a class is left out, and harmless texts come back as they are."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from peclip_fast.config import texts
from peclip_fast.data.names import SEVEN_EXPRESSIONS
from peclip_fast.prepare.descriptions.leaks import Leak, LeakFilter
from peclip_fast.prepare.descriptions.removals import best

CASES = yaml.safe_load((Path(__file__).parent / "leak_cases.yaml").read_text(encoding="utf-8"))
HARMLESS_WORDS = CASES["harmless"].split()


@pytest.fixture(scope="module")
def clean() -> LeakFilter:
    return LeakFilter(SEVEN_EXPRESSIONS)


@pytest.mark.parametrize("kind", ["inflected", "hyphenated", "written", "phrases"])
def test_a_sentence_with_any_form_goes_and_its_neighbours_stay(
    clean: LeakFilter, kind: str
) -> None:
    cases = CASES[kind].split() if isinstance(CASES[kind], str) else CASES[kind]
    assert len(cases) > 20
    left = {case: clean(f"He nods. The lips {case} part. The jaw drops.").text for case in cases}
    assert {case for case, text in left.items() if text != "He nods. The jaw drops."} == set()
    assert {case for case in cases if clean(case).text} == set()


def test_each_form_of_the_lexicon_goes_in_any_case(clean: LeakFilter) -> None:
    named = clean.lexicon.named
    assert len(named) > 8000
    for word in named:
        for written in (word, word.upper(), word.capitalize(), f"half-{word}", f"{word}-like"):
            found = clean(f"It moves. There {written} goes. The end.")
            assert found.text == "It moves. The end.", written
            assert [leak.sentence for leak in found.leaks] == [f"There {written} goes."]


def test_harmless_words_and_texts_come_back_byte_for_byte(clean: LeakFilter) -> None:
    assert len(HARMLESS_WORDS) > 200
    for text in (
        *HARMLESS_WORDS,
        *CASES["action_units"],
        *CASES["sentences"],
        *texts.ACTION_UNITS.values(),
        *texts.OUR_DESCRIPTIONS.values(),
        " ".join(HARMLESS_WORDS),
    ):
        assert clean(text) == (text, ())


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("She seems happy. The lips part.", "The lips part."),
        ("The lips part. He is sad and angry!", "The lips part."),
        ("Sad? Yes. The lips part… Then he is sad…", "Yes. The lips part…"),
        ("The brows rise in surprise; the jaw drops.", ""),
        ("They open 0.5 cm, e.g. in fear. The jaw drops.", "The jaw drops."),
        ("They open, e.g. 0.5 cm. The jaw drops in fear.", "They open, e.g. 0.5 cm."),
        ("He says “I am sad.” The lips part.", "The lips part."),
        ("(She is angry.) *She nods.* **He is sad.** The end.", "*She nods.* The end."),
        ("1. The brows rise. 2. She looks sad. 3. She nods.", "1. The brows rise. 3. She nods."),
        ("- Brows: raised\n- Mood: happy\n- Lips: part", "- Brows: raised\n- Lips: part"),
        ("The brows rise\nin fear. The lips part.", "The lips part."),
        ("The lips part. She is in a good\nmood, it seems. The end.", "The lips part. The end."),
        ("Happy!", ""),
        ("1. Happy. 2.", ""),
        ("He shows no emotion.", ""),
    ],
)
def test_the_whole_sentence_goes(clean: LeakFilter, text: str, left: str) -> None:
    assert clean(text).text == left


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("The lip corners are slightly depressed.", True),
        ("It depresses the lower lip.", True),
        ("A depressed man with pressed lips.", False),
        ("Her downcast gaze lifts.", True),
        ("The contents of the frame.", True),
        ("A content smile spreads.", False),
        ("The picture is composed of two parts.", True),
        ("A composed man.", False),
        ("Calm eyes look up.", True),
        ("Calm eyes calmly look up.", False),
    ],
)
def test_words_of_two_meanings(clean: LeakFilter, text: str, kept: bool) -> None:
    assert clean(text).text == (text if kept else "")


def test_the_name_of_a_class_has_no_other_meaning() -> None:
    clean = LeakFilter([*SEVEN_EXPRESSIONS, "calm"])
    assert clean("Calm eyes look up. He nods.").text == "He nods."


def test_leaks_tell_the_word_its_class_and_the_sentence(clean: LeakFilter) -> None:
    text = "He nods. A Sad-looking brow, taken aback  by fury. The end."
    sentence = "A Sad-looking brow, taken aback  by fury."
    assert clean(text).leaks == (
        Leak("Sad-looking", "sadness", sentence),
        Leak("taken aback", "surprise", sentence),
        Leak("fury", "anger", sentence),
    )


def test_each_phrase_tells_its_class(clean: LeakFilter) -> None:
    wanted = {"over the moon": "happiness", "no emotion": "neutral", "fed up": "anger"}
    wanted |= {"on edge": "anxiety", "heavy-hearted": "sadness", "let down": "disappointment"}
    for phrase, label in wanted.items():
        found = clean(f"He is {phrase}.").leaks
        assert [leak.label for leak in found] == [label], phrase


def test_the_classes_of_another_task_go_with_their_stems() -> None:
    clean = LeakFilter(["walking", "BrushingTeeth"])
    assert clean("Walking, she turns. She brushed them. She is happy.").text == "She is happy."
    assert clean("They walk a dog. The brush falls. It barks.").text == "It barks."


def test_compound_classes_go_with_all_their_parts() -> None:
    for name in ("anger_disgust_contempt", "sadness, anxiety", "AngerFear", "happiness-surprise"):
        clean = LeakFilter([name])
        assert clean(f"It is {name}. They part happily. He nods.").text == "He nods."
        assert clean("In disgust. In anger. He nods.").text == "He nods."


@pytest.mark.parametrize("text", ["", " ", "...", "\u200b", "😐 :)", "a", "1 2 3", "é", "日本語"])
def test_odd_texts_are_no_trouble(clean: LeakFilter, text: str) -> None:
    assert clean(text) == (text, ())


@pytest.mark.parametrize(
    ("texts", "taken"),
    [
        (["He nods.", "She nods and blinks."], 0),
        (["He is sad. She nods and blinks.", "He nods."], 1),
        (["He is sad. She nods.", "He is sad."], 0),
        (["He is sad. She nods.", "He is sad. She nods and blinks."], 1),
        (["He is sad. She nods.", ""], 0),
        (["He is sad.", ""], 0),
    ],
)
def test_the_answer_without_a_leak_is_taken_or_that_with_most_left(
    clean: LeakFilter, texts: list[str], taken: int
) -> None:
    assert best([clean(text) for text in texts]) == taken
