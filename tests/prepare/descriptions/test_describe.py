"""The command against a local endpoint; nothing is paid for twice."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from helpers.describing import CLIPS, arguments, paid_once, removals, rows
from helpers.llm_server import ANSWER, Llm, careless
from helpers.tiny_runs import CLASSES, largest_file, write_config

from peclip_fast.commands import describe as command
from peclip_fast.commands.describe import main
from peclip_fast.demo import render
from peclip_fast.prepare.descriptions.prompt import PROMPT, filled


def test_failures_are_retried_and_nothing_is_paid_for_twice(
    llm: Llm, tiny_clips: Path, tmp_path: Path
) -> None:
    llm.failures = ["late", 429, "broken", 503, 429, "half"]
    assert main(arguments(llm, tiny_clips, tmp_path, "--limit", "10", "--timeout", "4")) == 1
    answers = tmp_path / "fine.answers.jsonl"
    assert len(rows(answers)) == 10
    with open(answers, "a") as file:
        file.write('{"clip": "torn')  # as a kill leaves it
    assert main(arguments(llm, tiny_clips, tmp_path)) == 0
    paid_once(llm)
    asked = len(llm.requests)
    assert main(arguments(llm, tiny_clips, tmp_path)) == 0
    assert len(llm.requests) == asked
    texts = rows(tmp_path / "fine.jsonl")
    assert {row["text"] for row in texts} == {"A mouth opens."}
    assert {f"{split}/{name}/000" for split in ("train", "test") for name in CLASSES} <= {
        row["clip"] for row in texts
    }
    assert removals(tmp_path) == []


def test_a_moved_dataset_isnt_paid_for_again(llm: Llm, tiny_clips: Path, tmp_path: Path) -> None:
    assert main(arguments(llm, tiny_clips, tmp_path)) == 0
    moved = shutil.copytree(tiny_clips, tmp_path / "elsewhere" / "clips")
    asked = len(llm.requests)
    assert main(arguments(llm, moved, tmp_path)) == 0
    assert len(llm.requests) == asked


@pytest.mark.parametrize("change", ["prompt", "--llm", "--frames", "--side"])
def test_another_question_is_asked_and_the_old_answers_stay(
    llm: Llm, tiny_clips: Path, tmp_path: Path, change: str
) -> None:
    limit = ("--limit", "3")
    main(arguments(llm, tiny_clips, tmp_path, *limit))
    prompt = tmp_path / "prompt.txt"
    prompt.write_text("In {frames} frames, {{what}} moves?")
    values = {"prompt": ("--prompt", str(prompt)), "--llm": ("--llm", "other")}
    main(arguments(llm, tiny_clips, tmp_path, *limit, *values.get(change, (change, "3"))))
    assert len(llm.requests) == 6
    assert len(rows(tmp_path / "fine.answers.jsonl")) == 6
    if change == "prompt":
        assert llm.requests[-1]["messages"][0]["content"][0]["text"] == (
            "In 2 frames, {what} moves?"
        )
    main(arguments(llm, tiny_clips, tmp_path, "--limit", "0"))
    assert len(rows(tmp_path / "fine.jsonl")) == 3
    assert len(llm.requests) == 6


def test_a_second_refusal_loses_no_answer_in_flight(
    llm: Llm, tiny_clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    llm.slow, llm.together = 0.3, 4
    llm.failures = [ANSWER, 401, ANSWER, 401]
    assert main(arguments(llm, tiny_clips, tmp_path)) == 2
    error = capsys.readouterr().err
    assert "HTTP 401" in error
    assert len(rows(tmp_path / "fine.answers.jsonl")) == sum(llm.paid.values()) > 0
    assert f"{sum(llm.paid.values())} answers" in error
    assert main(arguments(llm, tiny_clips, tmp_path)) == 0
    paid_once(llm)


@pytest.mark.parametrize(("answer", "asks"), [(ANSWER, 1), (careless, 2)])
@pytest.mark.parametrize("kill", [signal.SIGKILL, signal.SIGINT])
def test_a_process_that_is_ended_doesnt_pay_again(
    llm: Llm, tiny_clips: Path, tmp_path: Path, kill: signal.Signals, answer: Any, asks: int
) -> None:
    llm.always = [answer]
    llm.slow, llm.free = 0.15, 4
    llm.gate.clear()
    call = arguments(llm, tiny_clips, tmp_path, "--parallel", "2", "--timeout", "60")
    process = subprocess.Popen(
        [sys.executable, "-m", "peclip_fast", "describe", *call],
        stderr=subprocess.PIPE,
        # Where the tests run in the background of a shell, SIGINT is ignored and that is inherited.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    answers = tmp_path / "fine.answers.jsonl"
    while not (answers.exists() and answers.read_bytes().count(b"\n") >= 3):
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(kill)
    time.sleep(1)  # two answers are in flight, and paid for
    llm.gate.set()
    process.communicate(timeout=60)
    assert process.returncode == (130 if kill == signal.SIGINT else -kill)
    kept, paid = len(rows_whole(answers)), sum(llm.paid.values())
    assert 3 <= kept < CLIPS
    if kill == signal.SIGINT:
        assert kept == paid
    llm.slow = 0.0
    assert main(call) == 0
    assert sum(llm.paid.values()) == paid + asks * CLIPS - kept


def rows_whole(path: Path) -> list[bytes]:
    return path.read_bytes().split(b"\n")[:-1]


def test_a_full_disk_says_so_and_prints_what_it_cant_keep(
    llm: Llm, tiny_clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    call = arguments(llm, tiny_clips, tmp_path, "--parallel", "1")
    main([*call, "--limit", "2"])
    answers = tmp_path / "fine.answers.jsonl"
    size = answers.stat().st_size
    capsys.readouterr()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(command, "check_writable", lambda folder: None)
        with largest_file(size + 100):
            assert main(call) == 2
    error = capsys.readouterr().err
    assert "fine.answers.jsonl: File too large" in error
    assert error.count("not written: {") == sum(llm.paid.values()) - 2
    assert len(rows(answers)) == 2


def test_an_endpoint_that_is_gone_ends_the_run(
    llm: Llm, tiny_clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    llm.always = [503]
    assert main(arguments(llm, tiny_clips, tmp_path, "--retries", "0")) == 1
    assert 20 <= len(llm.requests) < CLIPS + 1
    assert "stopped after 2" in capsys.readouterr().err
    llm.shutdown()
    llm.server_close()
    assert main(arguments(llm, tiny_clips, tmp_path, "--retries", "1")) == 2
    assert "refused" in capsys.readouterr().err.splitlines()[-1]


def test_a_refusal_of_one_clip_is_told_and_not_retried(
    llm: Llm, tiny_clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    llm.failures = [400]
    assert main(arguments(llm, tiny_clips, tmp_path)) == 1
    assert len(llm.requests) == CLIPS
    assert "HTTP 400" in capsys.readouterr().err


def test_empty_and_cut_answers_are_told_and_kept(
    llm: Llm, tiny_clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    empty = {"choices": [{"message": {"content": None}, "finish_reason": "content_filter"}]}
    short = {"choices": [{"message": {"content": "The lips"}, "finish_reason": "length"}]}
    llm.failures = [empty, short]
    call = arguments(llm, tiny_clips, tmp_path, "--parallel", "1")
    assert main(call) == 1
    error = capsys.readouterr().err
    for told in ("ended by 'content_filter'", "ended by 'length'", "the answer is empty"):
        assert told in error
    assert main(call) == 1
    assert len(llm.requests) == CLIPS
    assert "The lips" in {row["text"] for row in rows(tmp_path / "fine.jsonl")}


def test_a_bad_clip_is_told_and_the_others_are_asked(
    llm: Llm, tiny_clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    clips = shutil.copytree(tiny_clips, tmp_path / "clips")
    for frame in (clips / "train" / CLASSES[0] / "001").iterdir():
        frame.write_bytes(b"no picture")
    assert main(arguments(llm, clips, tmp_path)) == 1
    assert f"no text for train/{CLASSES[0]}/001: " in capsys.readouterr().err
    assert len(llm.requests) == CLIPS - 1


def test_the_cost_is_told_before_and_after(
    llm: Llm, tiny_clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prices = ("--price_in", "1000", "--price_out", "3000")
    call = arguments(llm, tiny_clips, tmp_path, *prices, "--limit", "5")
    assert main([*call, "--dry_run"]) == 0
    told = capsys.readouterr().out
    sent = 5 * (len(filled(PROMPT, 2)) / 4 + 2 * 336**2 / 750)
    assert f"5 requests, about {sent:.0f} tokens sent" in told
    assert "at most 10 requests, if every answer names a class" in told
    assert f"cost about {(sent * 1000 + 5 * 100 * 3000) / 1e6:.2f}" in told
    assert not llm.requests
    assert not (tmp_path / "fine.jsonl").exists()
    main(call)
    assert "5 answers, 50 tokens sent, 25 received, cost 0.1250" in capsys.readouterr().err
    main([*call, "--dry_run"])
    assert "5 requests" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (("--prompt", "nowhere.txt"), "nowhere.txt: can't be read"),
        (("--frames", "0"), "--frames 0: expected at least 1"),
        (("--asks", "0"), "--asks 0: expected at least 1"),
        (("--retries", "-1"), "--retries -1: expected at least 0"),
        (("--price_in", "-1"), "--price_in -1"),
        (("--timeout", "0"), "--timeout 0"),
        (("--llm", ""), "--llm: expected"),
        (("--texts", "both.jsonl"), "expected one of --endpoint and --texts"),
    ],
)
def test_bad_options_are_one_line(
    llm: Llm,
    tiny_clips: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    options: tuple[str, ...],
    named: str,
) -> None:
    assert main(arguments(llm, tiny_clips, tmp_path, *options)) == 2
    error = capsys.readouterr().err
    assert named in error
    assert len(error.splitlines()) == 1
    assert not llm.requests


@pytest.mark.parametrize("prompt", ["{what} moves", "a { brace", " \n"])
def test_a_bad_prompt_is_one_line(
    llm: Llm, tiny_clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], prompt: str
) -> None:
    (tmp_path / "prompt.txt").write_text(prompt)
    call = arguments(llm, tiny_clips, tmp_path, "--prompt", str(tmp_path / "prompt.txt"))
    assert main(call) == 2
    assert capsys.readouterr().err.startswith("error: --prompt: ")


def test_two_at_a_time_is_refused(
    llm: Llm, tiny_clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    call = arguments(llm, tiny_clips, tmp_path, "--limit", "1")
    llm.gate.clear()
    with subprocess.Popen([sys.executable, "-m", "peclip_fast", "describe", *call]):
        assert llm.reached.wait(60)
        assert main(call) == 2
        assert "another process" in capsys.readouterr().err
        llm.gate.set()
    paid_once(llm, 1)


def test_a_broken_line_of_the_answers_is_named(
    llm: Llm, tiny_clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "fine.answers.jsonl").write_text('{"clip": 3}\n')
    assert main(arguments(llm, tiny_clips, tmp_path)) == 2
    assert "fine.answers.jsonl:1: no answer of an LLM" in capsys.readouterr().err


def test_texts_by_hand_go_through_the_same_filter(
    tiny_clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = write_config(tmp_path / "tiny.yaml", "none", tiny_clips)
    hand, output = tmp_path / "hand.jsonl", tmp_path / "fine.jsonl"
    clip = rf"D:\\clips\\train\\{CLASSES[0]}\\000"
    line = f'{{"clip": "{clip}", "text": "A sad-looking face. A brow sinks."}}\n'
    hand.write_text(line)
    call = [str(config), "--texts", str(hand), "--output", str(output)]
    assert main(call) == 1
    assert "1 of 24 clips have a text" in capsys.readouterr().err
    assert rows(output) == [{"clip": f"train/{CLASSES[0]}/000", "text": "A brow sinks."}]
    (left,) = removals(tmp_path)
    assert list(left.values()) == [
        *(f"train/{CLASSES[0]}/000", "sad-looking", "sadness"),
        *("A sad-looking face.", "sentence left out"),
    ]
    hand.write_text(line * 2)
    assert main(call) == 2
    assert "hand.jsonl:2: " in capsys.readouterr().err
    hand.unlink()
    assert main(call) == 2
    assert capsys.readouterr().err.startswith(f"error: {hand}: can't be read")


def test_the_demo_is_a_dataset_too(
    llm: Llm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(render, "IDENTITIES", {"train": range(1), "test": range(1000, 1001)})
    output = tmp_path / "fine.jsonl"
    call = ["demo", "--endpoint", llm.url, "--llm", "test", "--output", str(output)]
    assert main([*call, "--data.root", str(tmp_path / "demo"), "--limit", "3"]) == 1
    assert len(rows(output)) == len(llm.requests) == 3
    assert not any(row["clip"].startswith("/") for row in rows(output))
