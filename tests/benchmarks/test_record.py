"""Results files: figures of one processor don't take the place of another's."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from benchmarks.measure import record


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
