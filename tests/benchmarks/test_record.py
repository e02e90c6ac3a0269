"""Results files: figures of one processor don't take the place of another's."""

from __future__ import annotations

import contextlib
import functools
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from benchmarks.measure import record
from benchmarks.report.results_files import Record, Results
from benchmarks.report.tables import provenance


def test_another_instruction_set_stands_beside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def written(name: str) -> str:
        monkeypatch.setattr(record, "instruction_set", lambda: name)
        return record.write("speed", torch.device("cpu"), [{"isa": name}], tmp_path).name

    assert written("avx512") == written("avx512") == "speed-cpu.json"
    assert written("amx") == "speed-cpu_amx.json"
    kept = json.loads((tmp_path / "speed-cpu.json").read_text())
    assert (kept["instruction_set"], kept["rows"]) == ("avx512", [{"isa": "avx512"}])


def test_a_part_takes_the_place_of_its_own_rows_alone(tmp_path: Path) -> None:
    path, old = tmp_path / "speed-cpu.json", [{"clips": 1, "ms": 5}, {"clips": 2, "ms": 6}]
    assert record.rows_kept(path, old, ["clips"]) == old
    path.write_text(json.dumps({"rows": old}))
    new = [{"clips": 2, "ms": 7}, {"clips": 3, "ms": 8}]
    assert record.rows_kept(path, new, ["clips"]) == [old[0], *new]


def test_what_held_the_cpu_back_is_kept_and_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in record.LIMITS:
        monkeypatch.delenv(name, raising=False)
    assert "limits" not in record.provenance(torch.device("cpu"))
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")
    path = record.write("speed", torch.device("cpu"), [], tmp_path)
    content = Record(path.name, json.loads(path.read_text()))
    assert content["limits"] == {"ONEDNN_MAX_CPU_ISA": "AVX2"}
    shown = provenance(Results(path.stem, content), "link", "")
    assert "`ONEDNN_MAX_CPU_ISA=AVX2`" in shown


def test_the_context_of_a_functions_turns() -> None:
    """It is around all runs of a turn, and around nothing else."""
    seen: list[str] = []

    @contextlib.contextmanager
    def context() -> Iterator[None]:
        seen.append("(")
        yield
        seen.append(")")

    runs = {name: functools.partial(seen.append, name) for name in "ab"}
    record.interleaved(runs, torch.device("cpu"), 0.0, True, 2, {"b": context})
    assert "".join(seen) == "abab" + "aaa(bbb)" * 2
