"""The Triton kernels compiled for a GPU that need not be here: nothing spills, all fits."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("triton", reason="triton is not installed")

# KB of shared memory that one block may have: on every GPU from sm_80 on (sm_86, 89 and 120 have
# the least), and on sm_90, where the recurrences keep W_hh (see `resident`).
EVERYWHERE, SM_90 = 99, 227


@pytest.mark.slow
def test_resources() -> None:
    """The paper's size on sm_90; the script beside this test gives the other sizes and GPUs.

    In a process of its own, as this one may run Triton's interpreter.
    """
    script = Path(__file__).with_name("resources.py")
    cases = [
        [op, 768, 96, "bfloat16", "bfloat16"] for op in ("bottleneck_adapter", "temporal_adapter")
    ]
    environment = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"}
    environment["PYTHONPATH"] = os.pathsep.join(sys.path)
    result = subprocess.run(
        [sys.executable, str(script), json.dumps([cases, [90]])],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    lines = {line["kernel"]: line for line in map(json.loads, result.stdout.splitlines())}
    assert {name.partition(".")[2] for name in lines} >= {
        "forward", "rows", "weights", "input", "recurrence", "output", "products",
        "output_backward", "recurrence_backward", "input_backward",
    }  # fmt: skip
    for name, line in lines.items():
        assert line["spilled"] == 0, line
        limit = SM_90 if "recurrence" in name else EVERYWHERE
        assert line["shared"] <= limit * 1024, line
