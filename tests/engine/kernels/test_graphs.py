"""Whether CUDA graphs are taken by auto: a trial, with stand-ins as there is no GPU."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from helpers import stand_in_graphs
from helpers.tiny_runs import CLASSES

from peclip_fast import InputError
from peclip_fast.config.parser import configure
from peclip_fast.config.run import RunConfig
from peclip_fast.engine.distributed import World
from peclip_fast.engine.kernels import graph_trial, graphs
from peclip_fast.engine.kernels.graphs import settle_graphs, takes_graphs
from peclip_fast.engine.run_folder import RunFolder
from peclip_fast.ops.verdicts import settle, store
from peclip_fast.ops.verdicts.process import ChildAnswers

CPU, GPU = torch.device("cpu"), torch.device("cuda")
SIZES = (CLASSES, 32)


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PECLIP_FAST_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(store, "_memory", {})
    monkeypatch.setattr(graphs.machine, "facts", lambda device: {"device": device.type})
    monkeypatch.setattr(settle, "not_now", lambda device: None)


@pytest.fixture
def make(tiny_backbone: str):
    def make(method: str = "pe_clip", **options: object) -> RunConfig:
        own = {
            "model.backbone": tiny_backbone, "data.frames": 2, "train.batch_size": 2,
            "train.threads": 1,
        } | ({"model.prompt_depth": 2} if method == "pe_clip" else {})  # fmt: skip
        named = {name.replace("__", "."): value for name, value in options.items()}
        return configure("demo", {"model.method": method}, own, named)

    return make


def test_both_methods_may_have_them(make) -> None:
    for method in ("pe_clip", "finecliper"):
        assert make(method).train.cuda_graphs == "auto"
        assert make(method, train__cuda_graphs=True).train.cuda_graphs is True
    with pytest.raises(InputError, match=r"train\.cuda_graphs: expected false, as aim can't use"):
        make("aim", train__cuda_graphs=True)
    assert make("aim").train.cuda_graphs == "auto"


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"train__accumulate": 2},
        {"train__precision": "bf16"},
        {"method": "finecliper"},
        {"method": "finecliper", "train__accumulate": 2, "train__recompute": 1},
    ],
    ids=str,
)
def test_right_graphs_pass(make, monkeypatch: pytest.MonkeyPatch, options) -> None:
    monkeypatch.delenv("PECLIP_GRAPHS", raising=False)
    install = stand_in_graphs.make_graphed_callables
    monkeypatch.setattr(torch.cuda, "make_graphed_callables", install)
    config, told = make(**options), []
    job = {"config": config.to_yaml(), "classes": CLASSES}
    monkeypatch.setattr(graph_trial, "TIMED", 1)
    graph_trial.run(job, CPU, lambda **answer: told.append(answer))
    assert told[-1] == {"verdict": 0, "state": "passed", "reason": ""}
    (times,) = [answer["found"] for answer in told if "times" in answer]
    assert set(times) == {"reference", "cuda_graphs"}


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("wrong", "step 1: gradient .* differs by"),
        ("nan", "step 1: gradient 1 of .* 1 of .* numbers are not finite"),
        ("stale", "step 2: the loss differs by"),
    ],
)
def test_wrong_graphs_do_not(make, monkeypatch: pytest.MonkeyPatch, kind: str, said: str) -> None:
    monkeypatch.setenv("PECLIP_GRAPHS", kind)
    install = stand_in_graphs.make_graphed_callables
    monkeypatch.setattr(torch.cuda, "make_graphed_callables", install)
    told: list[dict[str, object]] = []
    job = {"config": make().to_yaml(), "classes": CLASSES}
    graph_trial.run(job, CPU, lambda **answer: told.append(answer))
    assert told[-1]["state"] == "failed"
    assert re.match(said, str(told[-1]["reason"])), told[-1]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "state", "said"),
    [
        ("right", "passed", ""),
        ("raises", "failed", "its process ended by itself with code 1 (step 1 of 3): RuntimeErro"),
        ("segfaults", "failed", "crashed by SIGSEGV (step 1 of 3)"),
        ("hangs", "failed", "no answer within 8 s: killed ("),
    ],
)
def test_they_are_tried_in_a_process_of_its_own(
    make, monkeypatch: pytest.MonkeyPatch, kind: str, state: str, said: str
) -> None:
    monkeypatch.setenv("PECLIP_GRAPHS", kind)
    monkeypatch.setenv("PECLIP_FAST_PLUGINS", "helpers.stand_in_graphs")
    monkeypatch.setenv(settle.LIMIT, "8" if kind == "hangs" else "100")
    run_task = settle.run_task
    monkeypatch.setattr(
        settle, "run_task", lambda what, jobs, device, limit: run_task(what, jobs, CPU, limit)
    )
    lines: list[str] = []
    config = make()
    record = settle_graphs(config, *SIZES, GPU, tell=lines.append)
    assert record is not None
    found = {v.backend: v for v in record.verdicts}["cuda_graphs"]
    assert (found.state, found.reason[: len(said)]) == (state, said), found
    if state == "failed":
        assert not takes_graphs(config, record)
        assert lines[-1] == f"CUDA graphs aren't taken: {found.reason}"


def answers(monkeypatch: pytest.MonkeyPatch, with_graphs: float = 1.0) -> list[str]:
    """Trials that go well, and that many ms instead of 2."""
    log: list[str] = []

    def run_task(what: str, *_: object) -> ChildAnswers:
        log.append(what)
        times = {"reference": {"both": 2.0}, "cuda_graphs": {"both": with_graphs}}
        return ChildAnswers({0: ("passed", "")}, {0: times}, at="x", state="done")

    monkeypatch.setattr(settle, "run_task", run_task)
    return log


def test_auto_takes_what_passed_and_is_faster(make, monkeypatch: pytest.MonkeyPatch) -> None:
    config, log = make(), answers(monkeypatch)
    record = settle_graphs(config, *SIZES, GPU)
    assert takes_graphs(config, record)
    assert log == [graph_trial.PLACE]
    answers(monkeypatch, 1.95)
    slow = settle_graphs(make(train__kernel_check="force"), *SIZES, GPU)
    assert not takes_graphs(config, slow)
    assert not takes_graphs(config, None)


def test_it_is_tried_once_for_a_step(make, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    log = answers(monkeypatch)
    first = settle_graphs(make(), *SIZES, GPU)
    assert settle_graphs(make(), *SIZES, GPU) == first
    assert len(log) == 1
    for other in ({"train__batch_size": 3}, {"train__accumulate": 2}, {"train__precision": "bf16"}):
        settle_graphs(make(**other), *SIZES, GPU)
    settle_graphs(make(), CLASSES[:2], 32, GPU)
    assert len(log) == 5
    run = RunFolder(tmp_path)
    bad = [replace(v, state="failed", reason="then") for v in first.verdicts]
    store.write(run.kernels, first.with_(bad))
    assert not takes_graphs(make(), settle_graphs(make(), *SIZES, GPU, run=run))


@pytest.mark.parametrize(
    "options",
    [
        {"train__cuda_graphs": False},
        {"train__kernel_check": "off"},
        {"train__kernel_check": "trust"},
        {"train__compile": True},
        {"method": "aim"},
    ],
    ids=str,
)
def test_nothing_is_tried_that_would_not_be_taken(
    make, monkeypatch: pytest.MonkeyPatch, options
) -> None:
    log, config = answers(monkeypatch), make(**options)
    assert settle_graphs(config, *SIZES, GPU) is None
    assert not takes_graphs(config, None)
    assert log == []


def test_neither_on_a_cpu_nor_for_several_processes(make, monkeypatch: pytest.MonkeyPatch) -> None:
    log = answers(monkeypatch)
    assert settle_graphs(make(), *SIZES, CPU) is None
    assert settle_graphs(make(), *SIZES, GPU, World(0, 2, 0, 2)) is None
    assert log == []


def test_asked_for_they_are_taken_untried(make, monkeypatch: pytest.MonkeyPatch) -> None:
    log, config = answers(monkeypatch), make(train__cuda_graphs=True)
    assert settle_graphs(config, *SIZES, GPU) is None
    assert takes_graphs(config, None)
    assert log == []


def test_where_no_second_process_may_be_it_is_unknown(
    make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settle, "not_now", lambda device: "not checked under MPS")
    record = settle_graphs(make(), *SIZES, GPU)
    assert record is not None
    assert [(v.state, v.reason) for v in record.verdicts] == [("unknown", "not checked under MPS")]
    assert not takes_graphs(make(), record)
    monkeypatch.setattr(settle, "not_now", lambda device: None)
    answers(monkeypatch)
    assert takes_graphs(make(), settle_graphs(make(), *SIZES, GPU)), "it isn't remembered"
