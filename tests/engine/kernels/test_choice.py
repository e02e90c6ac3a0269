"""Runs choose their kernels: what is asked in turn, of how many processes, and what is kept."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from helpers import stand_in_kernels
from helpers.operator_calls import call_of
from helpers.tiny_runs import no_pictures, write_config

from peclip_fast.commands import train
from peclip_fast.config.parser import configure
from peclip_fast.config.run import RunConfig
from peclip_fast.engine.kernels import choice
from peclip_fast.engine.run_folder import RunFolder
from peclip_fast.ops import declared
from peclip_fast.ops.declared import install, search
from peclip_fast.ops.verdicts import settle, store
from peclip_fast.ops.verdicts.process import ChildAnswers
from peclip_fast.ops.verdicts.verdict import OperatorCall, Record, Verdict

CPU = torch.device("cpu")
CALL = call_of("bottleneck_adapter")
ASK = ("bottleneck_adapter", "auto", CPU, torch.float32, 32, 6, 0)


@pytest.fixture(autouse=True)
def fresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A cache of its own, and one kernel that nobody has verified, called right."""
    monkeypatch.setenv("PECLIP_FAST_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PECLIP_STAND_INS", "right")
    monkeypatch.setattr(store, "_memory", {})
    monkeypatch.setattr(store, "_told", set())
    monkeypatch.setattr(declared, "_kernels", dict(declared._kernels))
    if hasattr(torch.ops.peclip_fast, "bottleneck_adapter_right"):
        kernel = declared.Kernel(("cpu",), lambda: None)
        declared._kernels["bottleneck_adapter", "right"] = kernel
        declared._modules["bottleneck_adapter", "right"] = stand_in_kernels.__name__
    else:
        stand_in_kernels.add("right")
    install({})
    yield
    install({})


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What children were asked for; all is right, and "right" is the fastest."""
    log: list[str] = []

    def child(
        what: str, calls: list[OperatorCall], backends: list[str], *_: object
    ) -> ChildAnswers:
        log.append(what)
        if what == "prove":
            done = {number: ("passed", "") for number in range(len(calls))}
            return ChildAnswers(done, at="x", state="done")
        times = {
            name: {"forward": 1.0, "both": 2.0 if name == "right" else 9.0} for name in backends
        }
        return ChildAnswers(times=dict.fromkeys(range(len(calls)), times), at="x", state="done")

    monkeypatch.setattr(settle, "_child", child)
    monkeypatch.setattr(choice, "calls_of", lambda config, device: [CALL])
    return log


def config_of(check: str = "auto") -> RunConfig:
    return configure("demo", {"train.kernel_check": check, "train.device": "cpu"})


def test_checked_once_and_then_known(asked: list[str], tmp_path: Path) -> None:
    lines: list[str] = []
    before = search(*ASK)
    record = choice.settle_kernels(config_of(), CPU, tell=lines.append)
    assert asked == ["prove", "race"]
    assert lines == ["checking bottleneck_adapter right on cpu"]
    assert (before, search(*ASK)) == ("cpu", "right")
    assert record is not None
    for _ in range(2):  # from memory, and as another process finds it in the cache
        install({})
        choice.settle_kernels(config_of(), CPU)
        assert search(*ASK) == "right"
        store._memory.clear()
    assert asked == ["prove", "race"]


def test_off_trust_and_force(asked: list[str]) -> None:
    choice.settle_kernels(config_of(), CPU)
    assert search(*ASK) == "right"
    assert choice.settle_kernels(config_of("off"), CPU) is None
    assert search(*ASK) == "cpu"
    assert choice.settle_kernels(config_of("trust"), CPU) is None
    assert search(*ASK) == "cpu", "what is verified comes first"
    kernels = declared._kernels
    kernels["bottleneck_adapter", "cpu"] = replace(
        kernels["bottleneck_adapter", "cpu"], verified=False
    )
    choice.settle_kernels(config_of("trust"), CPU)
    assert search(*ASK) == "cpu", "taken though nobody has verified it"
    choice.settle_kernels(config_of("off"), CPU)
    assert search(*ASK) == "reference"
    assert asked == ["prove", "race"]
    choice.settle_kernels(config_of("force"), CPU)
    assert asked[2:4] == ["prove", "prove"], "both, as none is verified now"


def test_a_run_goes_on_with_its_own_record(asked: list[str], tmp_path: Path) -> None:
    """Also with what was unknown when it began: other kernels would give other bits."""
    run = RunFolder(tmp_path)
    record = choice.settle_kernels(config_of(), CPU, run=run)
    assert record is not None
    kept = Record(record.machine, [Verdict(CALL, "right", "unknown", "MPS")], record.models)
    choice.keep_in(run, kept)
    choice.settle_kernels(config_of(), CPU, run=run)
    assert search(*ASK) == "cpu"
    # Elsewhere, or damaged, it says nothing.
    choice.keep_in(run, Record({**record.machine, "name": "other"}, kept.verdicts, kept.models))
    choice.settle_kernels(config_of(), CPU, run=run)
    assert search(*ASK) == "right"
    run.kernels.write_bytes(run.kernels.read_bytes()[:-9])
    choice.settle_kernels(config_of(), CPU, run=run)
    assert search(*ASK) == "right"


def test_nothing_to_check_costs_nothing(asked: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    del declared._kernels["bottleneck_adapter", "right"]
    monkeypatch.setattr(choice.machine, "facts", lambda device: pytest.fail("was asked"))
    assert choice.settle_kernels(config_of(), CPU) is None
    assert asked == []


def row(state: str, both: float | None = None, reason: str = "") -> Verdict:
    return Verdict(CALL, "right", state, reason, both=both)


def test_the_machines_of_a_run_agree() -> None:
    passed, slower, failed = row("passed", 1.0), row("passed", 3.0), row("failed", None, "NaN")
    assert choice.in_common([[passed]]) == [passed]
    assert choice.in_common([[passed], [slower]]) == [slower]
    assert choice.in_common([[passed], [failed]]) == [failed]
    (missing,) = choice.in_common([[passed], []])
    assert (missing.state, missing.reason) == ("unknown", "unknown to one of the machines")


RANK = """
import sys, torch
from helpers import stand_in_kernels
from helpers.operator_calls import call_of
from peclip_fast.config.parser import configure
from peclip_fast.engine.distributed import World, process_group
from peclip_fast.engine.kernels import choice
from peclip_fast.ops.declared import search
from peclip_fast.ops.verdicts.verdict import Record, Verdict

rank, device, call = int(sys.argv[1]), torch.device("cpu"), call_of("bottleneck_adapter")
checks = []

def checked(config, device, **_):
    checks.append(1)
    times = {"right": 2.0, "cpu": 5.0, "reference": 9.0}
    rows = [Verdict(call, name, "passed", both=time) for name, time in times.items()]
    if rank == 1:
        rows[0] = Verdict(call, "right", "failed", "NaN")
    return Record({"rank": str(rank)}, rows)

choice.checked = checked
config = configure("demo", {"train.device": "cpu"})
with process_group(World(rank, 2, rank, 2), device):
    for nodes in (1, 2):
        world = World(rank, 2, rank % (2 // nodes), 2 // nodes)
        choice.settle_kernels(config, device, world)
        print(search("bottleneck_adapter", "auto", device, torch.float32, 32, 6, 0), len(checks))
"""


@pytest.mark.slow
def test_two_processes_take_the_same(tmp_path: Path) -> None:
    """On one machine the first one checks for both; of two machines one finds the kernel wrong."""
    environment = {
        **os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(29500 + os.getpid() % 1000), "WORLD_SIZE": "2",
    }  # fmt: skip
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", RANK, str(rank)],
            stdout=subprocess.PIPE, text=True, env={**environment, "RANK": str(rank)},
        )
        for rank in range(2)
    ]  # fmt: skip
    said = [process.communicate(timeout=120)[0].splitlines() for process in processes]
    assert said == [["right 1", "cpu 2"], ["right 0", "cpu 1"]]


@pytest.mark.slow
def test_a_run_with_a_kernel_that_crashes_is_the_run_without(
    tiny_backbone: str, tiny_clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """In processes of its own; no operator ever calls it in this one."""
    monkeypatch.setenv("PECLIP_STAND_INS", "segfaults")
    config = write_config(tmp_path / "c.yaml", tiny_backbone, tiny_clips, epochs=1, warmup_epochs=0)

    def run(name: str, *options: str) -> bytes:
        folder = tmp_path / name
        with no_pictures():
            assert train.main(["--config", str(config), "--output", str(folder), *options]) == 0
        return (folder / "model" / "model.safetensors").read_bytes()

    del declared._kernels["bottleneck_adapter", "right"]
    expected = run("without")
    assert not (tmp_path / "without" / "kernels.json").exists()
    kernel = declared.Kernel(("cpu",), lambda: None)
    declared._kernels["bottleneck_adapter", "segfaults"] = kernel
    declared._modules["bottleneck_adapter", "segfaults"] = stand_in_kernels.__name__
    assert run("with") == expected
    said = "bottleneck_adapter segfaults: crashed by SIGSEGV"
    assert said in "".join(capfd.readouterr())
    record = store.parse(tmp_path / "with" / "kernels.json")
    assert {v.state for v in record.verdicts if v.backend == "segfaults"} == {"failed"}
    monkeypatch.setattr(settle, "_child", lambda *_: pytest.fail("it is known"))
    assert run("again") == expected
