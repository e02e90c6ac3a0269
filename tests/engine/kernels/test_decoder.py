"""DALI proves itself on a run's own clips. Stand-ins for it: it isn't installed everywhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from peclip_fast.config.parser import configure
from peclip_fast.config.run import RunConfig
from peclip_fast.data.loading import decoders
from peclip_fast.data.loading.dali.trial import TrialClips, different
from peclip_fast.data.loading.decoders import choose_decoder
from peclip_fast.data.records import ClipRecord
from peclip_fast.engine.kernels import decoder
from peclip_fast.engine.kernels.decoder import settle_decoder
from peclip_fast.engine.run_folder import RunFolder
from peclip_fast.ops.verdicts import settle, store
from peclip_fast.ops.verdicts.process import ChildAnswers
from peclip_fast.ops.verdicts.verdict import Record

CPU = torch.device("cpu")
SIZE = 16


@pytest.fixture(autouse=True)
def with_dali(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("PECLIP_FAST_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PECLIP_FAST_PLUGINS", "helpers.stand_in_dali")
    monkeypatch.setattr(store, "_memory", {})
    monkeypatch.setattr(decoders, "dali_missing", lambda: None)
    monkeypatch.setattr(decoders, "dali_version", lambda: "0.0")
    yield
    decoders.install(())


@pytest.fixture
def records(tmp_path: Path, frames_at: Callable[..., Path]) -> list[ClipRecord]:
    return [ClipRecord(frames_at(tmp_path / f"{k}", 6 + k), k) for k in range(3)]


def config_of(**options: object) -> RunConfig:
    own = {"data.frames": 2, "data.num_workers": 0, "train.device": "cpu"}
    named = {name.replace("__", "."): value for name, value in options.items()}
    return configure("demo", own, named)


def taken() -> str:
    return choose_decoder("auto", CPU)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "state", "said"),
    [
        ("fast", "passed", ""),
        ("mixed up", "failed", "values differ from PyAV's by "),
        ("hangs", "failed", "no answer within 5 s: killed (decoding test clips)"),
    ],
)
def test_it_is_tried_in_a_process_of_its_own(
    records: list[ClipRecord], monkeypatch: pytest.MonkeyPatch, kind: str, state: str, said: str
) -> None:
    monkeypatch.setenv("PECLIP_DALI", kind)
    monkeypatch.setenv(settle.LIMIT, "5")
    record = settle_decoder(config_of(), records, SIZE, CPU)
    assert record is not None
    found = {v.backend: v for v in record.verdicts}
    assert (found["dali"].state, found["dali"].reason[: len(said)]) == (state, said)
    assert taken() == ("dali" if kind == "fast" else "pyav")
    assert ("pyav" in found) == (state == "passed")


def test_it_has_to_be_faster(records: list[ClipRecord], monkeypatch: pytest.MonkeyPatch) -> None:
    times = {"pyav": {"forward": 3.0}, "dali": {"forward": 2.95}}
    answers = ChildAnswers({0: ("passed", "")}, {0: times}, at="x", state="done")
    monkeypatch.setattr(settle, "run_task", lambda *_: answers)
    settle_decoder(config_of(), records, SIZE, CPU)
    assert taken() == "pyav"


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Trials, of which all go well."""
    log: list[str] = []

    def run_task(what: str, *_: object) -> ChildAnswers:
        log.append(what)
        times = {"pyav": {"forward": 3.0}, "dali": {"forward": 1.0}}
        return ChildAnswers({0: ("passed", "")}, {0: times}, at="x", state="done")

    monkeypatch.setattr(settle, "run_task", run_task)
    return log


def test_once_for_a_kind_of_clips(asked: list[str], records: list[ClipRecord]) -> None:
    for _ in range(2):
        settle_decoder(config_of(), records, SIZE, CPU)
        assert taken() == "dali"
    assert len(asked) == 1
    settle_decoder(config_of(), [ClipRecord(Path("a.MP4"), 0), *records], SIZE, CPU)
    settle_decoder(config_of(data__frames=4), records, SIZE, CPU)
    settle_decoder(config_of(train__kernel_check="force"), records, SIZE, CPU)
    assert len(asked) == 4


def test_another_version_is_tried_again(
    asked: list[str], records: list[ClipRecord], monkeypatch: pytest.MonkeyPatch
) -> None:
    settle_decoder(config_of(), records, SIZE, CPU)
    monkeypatch.setattr(decoders, "dali_version", lambda: "0.1")
    settle_decoder(config_of(), records, SIZE, CPU)
    assert len(asked) == 2


def test_a_run_goes_on_with_what_it_has(
    asked: list[str], records: list[ClipRecord], tmp_path: Path
) -> None:
    run = RunFolder(tmp_path)
    record = settle_decoder(config_of(), records, SIZE, CPU, run=run)
    assert record is not None
    pyav = [v for v in record.verdicts if v.backend == "dali"]
    slow = [type(v)(**{**vars(v), "state": "unknown", "reason": "MPS"}) for v in pyav]
    store.write(run.kernels, Record(record.machine, slow))
    settle_decoder(config_of(), records, SIZE, CPU, run=run)
    assert taken() == "pyav"
    assert len(asked) == 1


@pytest.mark.parametrize(
    "options",
    [
        {"train__kernel_check": "off"},
        {"data__decoder": "pyav"},
        {"data__noise": 0.1},
    ],
)
def test_nothing_is_tried_that_would_not_be_taken(
    asked: list[str], records: list[ClipRecord], options: dict[str, object]
) -> None:
    assert settle_decoder(config_of(**options), records, SIZE, CPU) is None
    assert (asked, taken()) == ([], "pyav")


def test_trust(asked: list[str], records: list[ClipRecord]) -> None:
    settle_decoder(config_of(train__kernel_check="trust"), records, SIZE, CPU)
    assert (asked, taken()) == ([], "dali")


def test_without_dali(records: list[ClipRecord], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoders, "dali_missing", lambda: "not installed")
    assert settle_decoder(config_of(), records, SIZE, CPU) is None


def test_a_few_clips_from_all_over(tmp_path: Path) -> None:
    records = [ClipRecord(tmp_path / f"{n}.mp4", n) for n in range(100)]
    sample = TrialClips.of(records, config_of().data, SIZE, 4, 0)
    labels = [record["label"] for record in sample.records]
    assert labels == sorted(labels)
    assert (len(labels), labels[0]) == (8, 0)
    assert labels[-1] > 80


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda t: t + 1, None),
        (lambda t: t + 2, "by 2 of 255 at most and 2.00 in the mean"),
        (lambda t: torch.where(torch.arange(t.numel()).view(t.shape) == 3, t + 9, t), "by 9 of"),
        (lambda t: t[:1], "frames (1, 3, 4, 4)"),
        (lambda t: t.float(), "torch.float32"),
    ],
)
def test_frames_that_differ(
    change: Callable[[torch.Tensor], torch.Tensor], said: str | None
) -> None:
    frames = torch.full((2, 3, 4, 4), 100, dtype=torch.uint8)
    found = different({0: frames}, {0: change(frames)}, 8, 1.5)
    assert found == said if said is None else said in str(found)
    assert "can't read a clip" in str(different({0: frames}, {}, 8, 1.5))


def test_kinds() -> None:
    paths = ("a/b.MP4", "a/c.mp4", "a/d", "e.webm")
    assert decoder.kinds([ClipRecord(Path(p), 0) for p in paths]) == ".mp4, .webm, images"
