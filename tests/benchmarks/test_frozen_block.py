"""The frozen block's benchmark: what it runs, what it checks, what it writes."""

from __future__ import annotations

import functools
import json
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor

from benchmarks import frozen_block
from benchmarks.frozen_block import CASES, Case, contenders, draw, errors, main
from peclip_fast.ops.extension import bf16_missing


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few tokens of few numbers."""
    monkeypatch.setattr(frozen_block, "FRAMES", 1)
    monkeypatch.setattr(frozen_block, "TOKENS", 3)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("direction", frozen_block.DIRECTIONS)
def test_all_compute_the_same(name: str, direction: str, small: None) -> None:
    """Not torch.compile, which takes seconds."""
    case = CASES[name]
    operands = draw(case, 1, torch.bfloat16)
    runs = contenders(case, operands, direction)
    del runs["torch.compile"]
    truth = contenders(case, [t.double() for t in operands], direction)["eager"]()
    assert len(truth) == (1 if direction == "forward" else 2)
    found = errors(runs, truth)
    assert found["eager"] == 1.0
    if isinstance(found["cpu"], str):
        assert found["cpu"].endswith(bf16_missing() or "it runs everywhere")
    else:
        assert found["cpu"] <= 2.0


def test_a_wrong_backend_is_not_timed(small: None) -> None:
    def function(x: Tensor, backend: str) -> Tensor:
        return x if backend == "reference" else -x

    case = Case(function, [(8,), (8,)])
    operands = draw(case, 1, torch.float32)
    runs = contenders(case, operands, "forward")
    del runs["torch.compile"]
    with pytest.raises(SystemExit, match="cpu is wrong"):
        errors(runs, [operands[0].double()])


@pytest.mark.slow
def test_writes_what_it_measured(
    small: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Into no C++, which takes a compiler most of a minute.
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend="eager"))
    monkeypatch.setattr(
        sys, "argv",
        ["", "--operators", "attention", "--seconds", "0.01", "--output", str(tmp_path)],
    )  # fmt: skip
    main()
    rows = json.loads((tmp_path / "frozen_block-cpu.json").read_text())["rows"]
    assert {(row["dtype"], row["direction"]) for row in rows} == {
        (dtype, direction) for dtype in ("fp32", "bf16") for direction in frozen_block.DIRECTIONS
    }
    for row in rows:
        if row["contender"] == "cpu" and row["dtype"] == "fp32":
            assert (bf16_missing() or "it takes bfloat16, not float32") in row["not_run"]
        elif "not_run" not in row:
            assert row["median_ms"] > 0
            assert row["contender"] not in row["times_faster_than"]
