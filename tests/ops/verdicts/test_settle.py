"""Checks from outside: kernels that crash, hang or end their process, and what is made of it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from helpers import stand_in_kernels
from helpers.operator_calls import call_of

from peclip_fast.errors import InputError
from peclip_fast.ops import declared
from peclip_fast.ops.verdicts import process, settle
from peclip_fast.ops.verdicts.process import ChildAnswers
from peclip_fast.ops.verdicts.verdict import Record, Verdict, choices

CPU = torch.device("cpu")
CALLS = [call_of("bottleneck_adapter"), call_of("bottleneck_adapter", hidden=4)]
NAMES = ("right", "segfaults", "aborts", "exits", "hangs", "stops", "prints_on", "leaves_child")
LIMIT, ENDLESS = 8.0, {"hangs": 3.0, "stops": 3.0, "prints_on": 3.0}


@pytest.fixture(scope="module", autouse=True)
def stand_ins() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(declared, "_kernels", dict(declared._kernels))
        patch.setenv("PECLIP_STAND_INS", ",".join(NAMES))
        for name in NAMES:
            if hasattr(torch.ops.peclip_fast, f"bottleneck_adapter_{name}"):
                kernel = declared.Kernel(("cpu",), lambda: None)
                declared._kernels["bottleneck_adapter", name] = kernel
                declared._modules["bottleneck_adapter", name] = stand_in_kernels.__name__
            else:
                stand_in_kernels.add(name)
        yield


@pytest.fixture(scope="module")
def proven(stand_ins: None) -> dict[str, list[Verdict]]:
    """Of real processes, two at a time."""
    with ThreadPoolExecutor(2) as pool:
        found = pool.map(lambda name: _timed(name), NAMES)
        return dict(zip(NAMES, found, strict=True))


def _timed(name: str) -> list[Verdict]:
    return settle._prove(CALLS, name, CPU, ENDLESS.get(name, LIMIT))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("segfaults", "crashed by SIGSEGV (float32, the size of the model: forward"),
        ("aborts", "crashed by SIGABRT (float32, the size of the model: forward"),
        ("exits", "its process ended by itself with code 0 (float32, the size of the model"),
        ("hangs", "no answer within 3 s: killed (float32, the size of the model: forward and"),
        ("stops", "no answer within 3 s: killed (float32, the size of the model: forward and"),
        ("prints_on", "no answer within 3 s: killed (float32, the size of the model: forward"),
    ],
)
def test_none_hurts_the_caller(proven: dict[str, list[Verdict]], name: str, expected: str) -> None:
    first, second = proven[name]
    assert (first.state, second.state) == ("failed", "failed")
    assert first.reason.startswith(expected)
    assert second.reason == f"failed for {CALLS[0]}: {first.reason}"
    assert first.code, "a changed file is checked again"


@pytest.mark.slow
def test_a_right_one_passes_and_leaves_nothing_behind(proven: dict[str, list[Verdict]]) -> None:
    assert [v.state for v in proven["right"]] == ["passed", "passed"], proven["right"]
    # It forks a process that sleeps for minutes, and is right otherwise.
    assert [v.state for v in proven["leaves_child"]] == ["passed", "passed"]
    command = "peclip_fast.ops.verdicts.child"
    left = [p for p in os.listdir("/proc") if p.isdigit() and command in _command(p)]
    mine = [p for p in left if _parent(p) in (1, os.getpid())]
    assert mine == []


def _command(number: str) -> str:
    try:
        with open(f"/proc/{number}/cmdline") as file:
            return file.read()
    except OSError:
        return ""


def _parent(number: str) -> int:
    try:
        with open(f"/proc/{number}/stat") as file:
            return int(file.read().rpartition(")")[2].split()[1])
    except OSError:
        return 0


class Children:
    """In place of processes: what each of them answers, and what was asked of them."""

    def __init__(self, answers: Callable[[str, list[str]], ChildAnswers]) -> None:
        self.answers = answers
        self.asked: list[tuple[str, list[str]]] = []

    def __call__(self, what: str, calls: object, backends: list[str], *_: object) -> ChildAnswers:
        self.asked.append((what, backends))
        return self.answers(what, backends)


def good(what: str, backends: list[str]) -> ChildAnswers:
    if what == "prove":
        return ChildAnswers({0: ("passed", ""), 1: ("passed", "")}, at="x", state="done")
    times = {name: {"forward": 1.0, "both": 2.0 + (name == "reference")} for name in backends}
    return ChildAnswers(times={0: times, 1: times}, at="x", state="done")


def test_what_is_known_is_not_checked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    children = Children(good)
    monkeypatch.setattr(settle, "_child", children)
    found = settle.check(CALLS, CPU, Record({}), seconds=1)
    assert children.asked == [
        *(("prove", [name]) for name in NAMES), ("race", ["reference", *NAMES, "cpu"]),
    ]  # fmt: skip
    assert all(v.both for v in found)
    children.asked.clear()
    again = settle.check(CALLS, CPU, Record({}).with_(found), seconds=1)
    assert children.asked == []
    assert {(v.call.text, v.backend, v.both) for v in again} <= {
        (v.call.text, v.backend, v.both) for v in found
    }
    settle.check(CALLS, CPU, Record({}).with_(found), force=True, seconds=1)
    assert len(children.asked) == len(NAMES) + 1


def test_a_kernel_of_a_changed_file_is_checked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    children = Children(good)
    monkeypatch.setattr(settle, "_child", children)
    known = Record({}).with_(settle.check(CALLS, CPU, Record({}), seconds=1))
    children.asked.clear()
    code_of = settle.code_of
    monkeypatch.setattr(
        settle, "code_of", lambda op, name: "new" if name == "right" else code_of(op, name)
    )
    settle.check(CALLS, CPU, known, seconds=1)
    assert children.asked[0] == ("prove", ["right"])
    assert children.asked[1][0] == "race"


def test_who_crashes_in_the_race_has_failed_and_the_others_run_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def answers(what: str, backends: list[str]) -> ChildAnswers:
        if what == "race" and "hangs" in backends:
            said = "no answer within 1 s: killed"
            return ChildAnswers(at="x", turn="hangs", state="failed", reason=said)
        return good(what, backends)

    monkeypatch.setattr(settle, "_child", Children(answers))
    found = settle.check(CALLS, CPU, Record({}), seconds=1)
    by_name = {v.backend: v for v in found}
    assert by_name["hangs"].state == "failed"
    assert by_name["hangs"].reason == "no answer within 1 s: killed while it was timed"
    assert by_name["right"].both == 2.0
    for kind in choices(found, "cpu").values():
        assert kind.backend not in (None, "hangs", "reference")


def test_what_is_not_known_stays_so(monkeypatch: pytest.MonkeyPatch) -> None:
    short = ChildAnswers(at="x", state="unknown", reason="only 2 GiB of its memory are free")
    monkeypatch.setattr(settle, "_child", Children(lambda *_: short))
    found = settle.check(CALLS, CPU, Record({}), seconds=1)
    assert {v.state for v in found} == {"unknown"}
    assert all(choice.backend is None for choice in choices(found, "cpu").values())


def test_a_call_that_the_backend_refuses_is_no_fault_of_the_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    refused = ChildAnswers({0: ("refused", "it doesn't run this"), 1: ("passed", "")}, state="done")
    monkeypatch.setattr(settle, "_child", Children(lambda *_: refused))
    states = [v.state for v in settle._prove(CALLS, "right", CPU, 1)]
    assert states == ["failed", "passed"]


def test_no_second_process_where_it_would_hurt(monkeypatch: pytest.MonkeyPatch) -> None:
    modes = {"compute_mode": "Default"}
    monkeypatch.setattr(settle.machine, "queried", lambda device: modes)
    gpu = torch.device("cuda", 0)
    assert settle.not_now(gpu) is None
    modes["compute_mode"] = "Exclusive_Process"
    assert "no second process" in str(settle.not_now(gpu))
    monkeypatch.setenv("CUDA_MPS_PIPE_DIRECTORY", "/tmp/mps")
    assert "under MPS" in str(settle.not_now(gpu))
    assert settle.not_now(CPU) is None


@pytest.mark.parametrize("given", ["0", "-1", "soon", "inf", "nan"])
def test_a_limit_is_seconds(monkeypatch: pytest.MonkeyPatch, given: str) -> None:
    monkeypatch.setenv(settle.LIMIT, given)
    with pytest.raises(InputError, match=f"{settle.LIMIT}={given}: expected seconds"):
        settle.limit()


@pytest.mark.parametrize("line", [b"", b"{", b"[1]", b"1", b'{"verdict": "x"}', b"\xff"])
def test_answers_that_can_not_be_read_are_a_failure(line: bytes) -> None:
    answers = ChildAnswers(at="its start")
    answers.hear(line)
    assert answers.state == "failed"


def test_what_a_child_prints_is_not_kept_but_for_its_end() -> None:
    reading, writing = os.pipe()
    with process._Said(reading) as said:
        for number in range(100):
            os.write(writing, b"%d " % number + b"x" * 20_000 + b"\n")
            said.hear()
        os.write(writing, b"the last\n")
        os.close(writing)
        assert said.last_words() == ": the last"
        assert len(said._last) <= 10 * process._LAST
        assert not said.over
        said.hear()
        assert said.over


def test_time_in_which_nothing_ran_is_not_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """As when a debugger, or the user, stops the whole session for an hour."""
    now, clock = time.monotonic(), iter(range(0, 10**9, 3600))
    monkeypatch.setattr(process.time, "monotonic", lambda: now + next(clock))
    monkeypatch.setattr(settle, "origin_of", lambda *_: None)

    class Ended:
        stdin = None
        looks = 0

        def poll(self) -> int | None:
            self.looks += 1
            return 0 if self.looks > 3 else None

    reading, writing = os.pipe()
    os.close(writing)
    with open(reading, "rb", buffering=0) as pipe:
        ended = Ended()
        ended.wait = lambda timeout: None  # type: ignore[attr-defined]
        with process._Said(os.dup(reading)) as said:
            assert process._listen(ended, pipe, ChildAnswers(at="x"), 10.0, said) is True  # type: ignore[arg-type]
        assert ended.looks >= 1
