"""``benchmarks.compile_checks``: the extension that is here, and what a kernel that spills does."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.compile_checks import cuda_launches
from benchmarks.compile_checks.cases import CASES, Case
from benchmarks.compile_checks.resources import ARCHITECTURES, check
from benchmarks.compile_checks.table import PATH, Compiler, Table, parse
from benchmarks.compile_checks.triton_launches import OPERATORS, kernel_names, recording
from benchmarks.compile_checks.usage import Key, Usage

ROOT = Path(__file__).parents[3]
KERNEL = Key("triton", "bottleneck_adapter", "rows", "768, 96, bf16", 90)
TABLE = Table({"triton": Compiler("3.9.0", "2026-11-22")}, {KERNEL: Usage(64, 0, 0, 128)})


def test_the_kernels_of_this_build_are_as_in_the_table() -> None:
    extension = cuda_launches.load(None)
    if os.environ.get("PECLIP_FAST_CUDA") == "0":
        pytest.skip("PECLIP_FAST_CUDA is 0: no CUDA kernels were wanted")
    assert extension.cuda, "built without the CUDA kernels; is PECLIP_FAST_CUDA=0 meant?"
    usages = cuda_launches.measure(extension, CASES)
    assert {key.sm for key in usages} == set(extension.cuda_architectures)
    assert check("cuda", extension.cuda_version, usages, parse(PATH.read_text())) == []


def test_a_worse_kernel_fails_the_check() -> None:
    worse = {KERNEL: Usage(80, 0, 0, 128)}
    assert check("triton", "3.9.0", TABLE.usages, TABLE) == []
    assert check("triton", "3.9.0", worse, TABLE) == [f"{KERNEL}: 80 registers, 64 in the table"]


def test_another_compiler_is_told_not_failed(capsys: pytest.CaptureFixture[str]) -> None:
    worse = {KERNEL: Usage(80, 0, 0, 128)}
    assert check("triton", "4.0.0", worse, TABLE) == []
    assert "80 registers, 64 in the table (the table is of triton 3.9.0, this is 4.0.0)" in (
        capsys.readouterr().out
    )
    spilling = {KERNEL: Usage(64, 8, 0, 128)}
    assert check("triton", "4.0.0", spilling, TABLE) == [f"{KERNEL}: spills, 8 bytes of stack"]


@pytest.mark.parametrize("sm", ARCHITECTURES)
def test_every_triton_kernel_is_launched_and_in_the_table(sm: int) -> None:
    case = Case(768, 96, "bf16")
    with recording(sm) as launches:
        for run in OPERATORS.values():
            run(case)
    launched = {name for name, _ in launches}
    assert launched == kernel_names()
    committed = parse(PATH.read_text()).usages
    names = {(key.kernel, key.case, key.sm) for key in committed if key.backend == "triton"}
    assert {(name, str(case), sm) for name in launched} <= names


@pytest.mark.slow
def test_a_kernel_that_spills_is_found() -> None:
    """Compiled in a process of its own, as this one may run Triton's interpreter."""
    environment = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"}
    environment["PYTHONPATH"] = str(ROOT)
    script = ROOT / "tests" / "helpers" / "numerics" / "spilling_kernel.py"
    done = subprocess.run(
        [sys.executable, str(script)], env=environment, check=True, capture_output=True, text=True
    )
    found = json.loads(done.stdout)
    few, many = ({KERNEL: Usage(*found[name])} for name in ("few", "many"))
    assert few[KERNEL].threads == many[KERNEL].threads == 32
    assert check("triton", "3.9.0", few, Table(TABLE.compilers, few)) == []
    assert check("triton", "3.9.0", many, Table(TABLE.compilers, many)) == [
        f"{KERNEL}: spills, {many[KERNEL].stack} bytes of stack"
    ]
