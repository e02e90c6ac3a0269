"""An answer that names a class is asked for again, and no answer is paid for twice."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.describing import CLIPS, arguments, paid_once, removals, rows
from helpers.llm_server import ANSWER, LEAKING, Llm, careless, prompt_of

from peclip_fast.commands.describe import main


def test_an_answer_that_names_a_class_is_asked_for_again_once(
    llm: Llm, tiny_clips: Path, tmp_path: Path
) -> None:
    llm.always = [careless]
    call = arguments(llm, tiny_clips, tmp_path)
    assert main(call) == 0
    paid_once(llm, 2 * CLIPS)
    again = [prompt_of(r) for r in llm.requests if careless(r) is ANSWER]
    assert len(again) == CLIPS
    assert all("must not appear: happy." in prompt for prompt in again)
    assert {row["text"] for row in rows(tmp_path / "fine.jsonl")} == {"A mouth opens."}
    first, *_ = removed = removals(tmp_path)
    assert len(removed) == CLIPS
    assert list(first.values())[1:] == [
        *("happy", "happiness", "She looks happy.", "another answer taken")
    ]
    assert main(call) == 0
    assert len(llm.requests) == 2 * CLIPS
    told = rows(tmp_path / "fine.answers.jsonl")
    assert sorted(row["ask"] for row in told) == [1] * CLIPS + [2] * CLIPS


def test_the_sentence_is_left_out_where_asking_doesnt_help(
    llm: Llm, tiny_clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    llm.always = [LEAKING]
    limit = ("--limit", "1", "--price_in", "1")
    call = arguments(llm, tiny_clips, tmp_path, *limit)
    for asks, requests in ((1, 1), (3, 3), (2, 3)):
        assert main([*call, "--asks", str(asks), "--limit", str(asks % 2)]) == 1
        assert len(llm.requests) == requests
        (text,) = rows(tmp_path / "fine.jsonl")
        assert text["text"] == "A brow sinks."
        done = [row["done"] for row in removals(tmp_path)]
        assert sorted(done) == ["another answer taken"] * (requests - 1) + ["sentence left out"]
    llm.always = [LEAKING | {"choices": [{"message": {"content": "She is sad and happy."}}]}]
    capsys.readouterr()
    folder = tmp_path / "other"
    folder.mkdir()
    assert main(arguments(llm, tiny_clips, folder, *limit)) == 1
    assert "nothing is left of the text of train/" in capsys.readouterr().err
    assert rows(folder / "fine.jsonl") == []
    assert "must not appear: sad, happy." in prompt_of(llm.requests[-1])


def test_an_answer_stays_where_asking_again_fails(
    llm: Llm, tiny_clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    llm.failures = [LEAKING, 400]
    call = arguments(llm, tiny_clips, tmp_path, "--limit", "1")
    main(call)
    assert "not asked again for train/" in capsys.readouterr().err
    assert [row["text"] for row in rows(tmp_path / "fine.jsonl")] == ["A brow sinks."]
    main(call)
    assert len(llm.requests) == 3
    assert [row["text"] for row in rows(tmp_path / "fine.jsonl")] == ["A mouth opens."]


def test_further_classes_use_the_answers_that_are_there(
    llm: Llm, tiny_clips: Path, tmp_path: Path
) -> None:
    call = arguments(llm, tiny_clips, tmp_path, "--limit", "1")
    main(call)
    llm.always = [ANSWER | {"choices": [{"message": {"content": "One opens. A mouth."}}]}]
    main([*call, "--classes", "mouth"])
    assert len(llm.requests) == 2
    assert [row["text"] for row in rows(tmp_path / "fine.jsonl")] == ["One opens."]
    main([*call, "--classes", "--limit", "0"])
    assert [row["text"] for row in rows(tmp_path / "fine.jsonl")] == ["A mouth opens."]
    assert len(llm.requests) == 2
