"""PECLIP_FAST_MAX_CPU_ISA: every instruction set of this processor gives the right numbers.

The best one is what all other tests run."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from peclip_fast.ops import extension

pytestmark = pytest.mark.skipif(extension.missing() is not None, reason=extension.missing() or "")
HERE = Path(__file__).parent
PYTEST = ["-m", "pytest", "-q", "--noconftest", "-p", "no:xdist", "-p", "no:cacheprovider"]
SETS = ("baseline", "avx2", "avx512_core", "avx512", "amx")
WITH_UNIT = ("avx512", "amx")
# Many sizes of a test of each kernel, against fp64.
CHOSEN = [
    "test_temporal_adapter.py::test_cpu_against_fp64",
    "test_feed_forward.py::test_against_fp64",
    "test_feed_forward.py::test_each_hidden_number",
    "test_linear.py::test_against_fp64",
    "test_linear.py::test_weight_gradient",
]
OF_UNITS = [
    "test_attention.py::test_against_fp64",
    "test_bottleneck_adapter_cpu.py::test_against_fp64",
]
SOME = "(not temporal or (after_up and 33)) and not 579"


def limited(most: str, *command: str) -> subprocess.CompletedProcess[str]:
    """Python in a process of its own: the set is chosen once, when a kernel is first called."""
    return subprocess.run(
        [sys.executable, *command],
        env={**os.environ, "PECLIP_FAST_MAX_CPU_ISA": most},
        capture_output=True,
        text=True,
    )


def below_the_best() -> tuple[str, ...]:
    best = "baseline" if extension.missing() else extension.load().cpu_instruction_set()
    return SETS[: SETS.index(best)]


@pytest.mark.parametrize("name", below_the_best())
def test_every_instruction_set(name: str) -> None:
    chosen = CHOSEN + (OF_UNITS if name in WITH_UNIT else [])
    tests = [str(HERE / test) for test in chosen]
    done = limited(name, *PYTEST, *tests, "-k", SOME)
    assert done.returncode == 0, done.stdout
    assert re.search(r"\b[1-9]\d* passed", done.stdout), done.stdout


def test_the_limit() -> None:
    """What the switch names is the most that is used; with less than AVX-512 no bf16 unit is."""
    code = "from peclip_fast.ops import extension as e; m = e.load()\n"
    code += "print(m.cpu_instruction_set(), e.bf16_missing())"
    lowest = limited("baseline", "-c", code)
    assert lowest.stdout.startswith("baseline it needs AVX-512 for bfloat16") or (
        "built for a processor" in lowest.stdout
    )
    wrong = limited("avx1024", "-c", code)
    assert wrong.returncode != 0
    expected = f"PECLIP_FAST_MAX_CPU_ISA is 'avx1024': expected one of {', '.join(SETS)}"
    assert expected in wrong.stderr
