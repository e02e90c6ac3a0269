"""Every campaign notices what it is there to notice: faults that are planted here."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import time
from pathlib import Path

import pytest
import torch
from faults import campaign, clips, mutations
from faults.campaign import Tally, WrongError, judged
from faults.disturbed import check_ended, compare, finish
from faults.mutations import BYTES, in_json, in_safetensors, in_text, in_yaml, mutated, whole_json
from faults.stored import StoredFile, digest
from faults.texts import TextReader
from faults.training import Ended
from safetensors.torch import save

from peclip_fast.engine.run_folder import RunFolder
from peclip_fast.errors import InputError


class TornError(InputError):
    """One that says what it was given as it is."""

    def __init__(self, message: str) -> None:
        self.message = message

    def __str__(self) -> str:
        return self.message


def raising(error: BaseException) -> None:
    raise error


# Texts ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("planted", "kind"),
    [
        (lambda: raising(ValueError("no number")), "ValueError outside of the package"),
        (lambda: raising(MemoryError()), "MemoryError outside of the package"),
        (lambda: raising(TornError("a.csv:3: expected\na number")), "TornError of several lines"),
        (lambda: raising(TornError("a\u2028b\x85c")), "TornError of several lines"),
        (lambda: raising(InputError("")), "InputError of no line"),
        (lambda: raising(WrongError("other content")), "other content"),
        (lambda: sum(range(10**7)), "over 0.05 s"),
        (lambda: sum(range(10**7)) + raising(InputError("late")), "over 0.05 s"),
    ],
)
def test_what_is_wrong_is_a_finding(planted, kind) -> None:
    verdict = judged(planted, limit=0.05)
    assert verdict.kind == kind
    assert not verdict.refused
    assert verdict.said


def test_what_hangs_is_a_finding(monkeypatch) -> None:
    monkeypatch.setattr(campaign, "PATIENCE", 0.05)
    assert judged(lambda: time.sleep(10)).kind == "not done within 0.05 s"


def test_what_is_right_is_none() -> None:
    assert judged(lambda: None)[:2] == (False, "")
    assert judged(lambda: raising(InputError("a.csv:3: expected a number")))[:2] == (True, "")


def test_a_readers_fault_is_found_counted_and_kept(tmp_path) -> None:
    """One that minds neither numbers of 5,000 digits nor what isn't UTF-8."""
    place = tmp_path / "numbers.txt"

    def read() -> None:
        for line in place.read_text(encoding="utf-8").splitlines():
            int(line)

    reader = TextReader("planted", "numbers", (b"1\n2\n3\n",), place, read)
    tally = Tally("planted", kept=tmp_path / "kept")
    reader.run(range(100), tally)
    kinds = tally.kinds()
    assert kinds["ValueError outside of the package"] > 20
    assert kinds["UnicodeDecodeError outside of the package"] > 5
    assert tally.inputs == 100
    assert tally.accepted + len(tally.findings) == 100
    finding = tally.findings[0]
    kept = tmp_path / "kept" / f"planted-0-{finding.number}"
    assert kept.read_bytes() == mutated((b"1\n2\n3\n",), in_text, tally.key(finding.number))
    [row] = [row for row in tally.row()["findings"] if row["kind"] == finding.kind]
    assert row["first"] == finding.number


# Mutations -----------------------------------------------------------------------------------

CORPUS = {
    in_text: b"a/b.mp4,happy\nc/d.mp4,sad\n",
    in_json: b'{"clip": "a", "text": "b"}\n{"clip": "c", "text": "d"}\n',
    whole_json: b'{"a": [1, {"b": null}],\n "c": "d"}',
    in_yaml: b"data: {frames: 2, classes: [a, b]}\n",
    in_safetensors: save({"a": torch.zeros(3)}),
} | dict.fromkeys(BYTES, bytes(range(256)) * 8)


@pytest.mark.parametrize("mutate", CORPUS, ids=lambda mutate: mutate.__name__)
def test_inputs_are_made_again_by_their_number_and_differ(mutate) -> None:
    whole = CORPUS[mutate]
    first, second = ([mutated((whole,), mutate, f"n {k}") for k in range(200)] for _ in range(2))
    assert first == second
    assert len(set(first)) > 120
    assert sum(data == whole for data in first) < 30


def test_structure_is_damaged_too() -> None:
    """Not only text that no parser gets through."""
    rng = random.Random(0)
    parsed = 0
    for _ in range(200):
        try:
            parsed += json.loads(whole_json(CORPUS[whole_json], rng)) is not NotImplemented
        except (ValueError, RecursionError):
            continue
    assert 60 < parsed < 195
    assert len(mutations.ODD) > 90


# Stored files --------------------------------------------------------------------------------


def test_other_content_is_a_finding(tmp_path) -> None:
    """Of a file without a digest, as a flipped bit in it is as good a number as any."""
    place = tmp_path / "numbers"
    place.write_bytes(bytes(range(200)))
    stored = StoredFile("planted", "numbers", place, lambda: digest([*place.read_bytes()]))
    tally = Tally("planted")
    stored.run(range(40), tally)
    assert tally.kinds() == {"other content, not noticed": 40 - tally.accepted}
    assert tally.accepted < 10
    assert place.read_bytes() == bytes(range(200))


def test_digests_tell_content_apart() -> None:
    values = [
        torch.zeros(2), torch.zeros(2, 1), torch.zeros(2, dtype=torch.float64),
        torch.tensor([0.0, -0.0]), {"a": 1}, {"a": 2}, {"b": 1}, [1, [2]], [[1], 2], [[1, 2]], "1",
        1, 1.0, None, [],
    ]  # fmt: skip
    assert len({digest(value) for value in values}) == len(values)
    assert digest({"a": [torch.ones(2)]}) == digest({"a": [torch.ones(2)]})


# Clips ---------------------------------------------------------------------------------------


@pytest.fixture
def reader(tmp_path, monkeypatch):
    """A process that takes a clip's name for what it is to do."""
    (tmp_path / "faults").mkdir()
    program = """
import json, os, sys, time
for line in sys.stdin:
    name = json.loads(line).rpartition("/")[2]
    if name == "dies":
        os.kill(os.getpid(), 11)
    if name == "hangs":
        time.sleep(60)
    answer = {"refused": name == "refused", "kind": "", "said": "", "seconds": 0.0}
    print(json.dumps(answer), flush=True)
"""
    (tmp_path / "faults" / "read_clips.py").write_text(program)
    (tmp_path / "tests").symlink_to(tmp_path)
    monkeypatch.setattr(clips, "ROOT", tmp_path)
    monkeypatch.setattr(clips, "PATIENCE", 1)
    monkeypatch.setattr(clips, "SECONDS", 1.0)
    with clips.Reader() as started:
        yield started


def test_a_clip_that_ends_or_hangs_its_process_is_found_and_the_next_is_read(reader) -> None:
    said = [reader.read(Path(name)) for name in ("refused", "dies", "fine", "hangs", "fine")]
    assert [verdict.kind for verdict in said] == [
        "", "the process ended with -11", "", "the process hangs", "",
    ]  # fmt: skip
    assert [verdict.refused for verdict in said] == [True, False, False, False, False]


# Trainings -----------------------------------------------------------------------------------


class Alive:
    """Stands for a training that has left processes."""

    def __init__(self, *left: int) -> None:
        self.processes = [*left]

    def left(self) -> list[int]:
        return self.processes


@pytest.mark.parametrize(
    ("ended", "said"),
    [
        (Ended(1, ["Traceback", "ValueError: x"], 3.0), "ends with code 1"),
        (Ended(2, ["error: a", "error: b"], 3.0), "says more or less than a line: 2"),
        (Ended(2, [], 3.0), "says more or less than a line: 0"),
        (Ended(-9, [], None), "doesn't end"),
    ],
)
def test_how_a_training_must_not_end(ended, said) -> None:
    with pytest.raises(WrongError, match=said):
        check_ended(Alive(), ended, {2})  # type: ignore[arg-type]
    check_ended(Alive(), Ended(2, ["error: disk full"], 3.0), {2})  # type: ignore[arg-type]


def test_processes_left_behind_are_a_finding_and_ended() -> None:
    child = os.fork()
    if not child:
        time.sleep(60)
        os._exit(0)
    with pytest.raises(WrongError, match="leaves processes behind: 1"):
        check_ended(Alive(child), Ended(0, [], 1.0), {0})  # type: ignore[arg-type]
    assert os.waitpid(child, 0)[1] == signal.SIGKILL


class Done:
    """Stands for a training that has ended, here and after going on."""

    def __init__(self, folder: Path, ended: Ended | None = None) -> None:
        self.run, self.ended = RunFolder(folder), ended

    def run_to_end(self) -> Ended | None:
        return self.ended


def test_another_result_is_a_finding(trained_run, tmp_path) -> None:
    """By one bit of one weight, by a row of the history, by a file left half written."""
    right, copy = Ended(0, [], 3.0), Path(shutil.copytree(trained_run, tmp_path / "run"))
    whole, found = Done(trained_run), Done(copy, right)
    finish(found, whole)  # type: ignore[arg-type]
    for place, change in (
        ("model/model.safetensors", lambda data: data[:-1] + bytes([data[-1] ^ 1])),
        ("metrics.csv", lambda data: data.replace(b"\n1,5,0.", b"\n1,5,1.")),
        ("report.json", lambda data: data.replace(b"folder", b"another")),
    ):
        data = (copy / place).read_bytes()
        assert change(data) != data
        (copy / place).write_bytes(change(data))
        with pytest.raises(WrongError, match="another result"):
            compare(found, whole)  # type: ignore[arg-type]
        (copy / place).write_bytes(data)
    (copy / "config.yaml.tmp-1").write_bytes(b"")
    with pytest.raises(WrongError, match="left half written"):
        compare(found, whole)  # type: ignore[arg-type]
    found.ended = Ended(2, ["error: no way"], 3.0)
    with pytest.raises(WrongError, match="goes on with code 2: error: no way"):
        finish(found, whole)  # type: ignore[arg-type]
