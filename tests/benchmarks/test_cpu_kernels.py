"""The CPU's kernels by instruction set: what is measured, kept and shipped."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.measure import cpu_kernels
from peclip_fast.ops.verdicts import store
from peclip_fast.ops.verdicts.verdict import OperatorCall, Record, Verdict


def test_parts_come_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def checked(config, device, **how) -> Record:
        assert (device.type, how["every"], how["force"]) == ("cpu", True, True)
        kind = {"fp32": "float32", "bf16": "bfloat16"}[config.train.precision]
        call = OperatorCall("linear", {"x": [4, 32]}, [], {}, kind, 32, 32, 0, "")
        times = {"cpu": 1.0, "reference": 3.0}
        return Record({}, [Verdict(call, n, "passed", forward=ms) for n, ms in times.items()])

    monkeypatch.setattr(cpu_kernels, "checked", checked)
    folders = ["--output", str(tmp_path), "--shipped", str(tmp_path / "shipped")]
    for dtype in ("fp32", "bf16"):
        part = ["--backbone", "demo", "--dtypes", dtype]
        monkeypatch.setattr("sys.argv", ["cpu_kernels", *part, *folders])
        cpu_kernels.main()
    (path,) = (tmp_path / "shipped").iterdir()
    record = store.parse(path)
    assert record.machine == {"device": "cpu", "instruction_set": cpu_kernels.instruction_set()}
    assert [(v.call.dtype, v.backend) for v in record.verdicts] == [
        ("float32", "cpu"), ("float32", "reference"), ("bfloat16", "cpu"), ("bfloat16", "reference")
    ]  # fmt: skip
    rows = json.loads((tmp_path / "cpu_kernels-cpu.json").read_text())["rows"]
    assert [row["taken"] for row in rows] == [True, False, True, False]
    assert rows[0]["times_faster_than"] == {"forward_ms": 3.0}
