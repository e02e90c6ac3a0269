"""``python -m benchmarks.compile_checks``: what the GPU kernels use, as their compilers report it.

Needs no GPU: the CUDA kernels are read from the built extension, the Triton kernels are compiled
for GPUs that aren't here. ``--check`` fails if a kernel spills or got worse than in the committed
resources.json; ``--write`` writes that.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from datetime import datetime, timezone
from multiprocessing import get_context
from pathlib import Path

import triton

from benchmarks.compile_checks import cuda_launches, machine_code
from benchmarks.compile_checks.cases import CASES, PAPER, Case
from benchmarks.compile_checks.comparison import misfits, regressions, spills, strangers
from benchmarks.compile_checks.occupancy import LIMITS
from benchmarks.compile_checks.table import PATH, Compiler, Table, read, render
from benchmarks.compile_checks.triton_launches import OPERATORS, measure
from benchmarks.compile_checks.usage import Key, Usage
from peclip_fast.files import write_text

BACKENDS = ("cuda", "triton")
ARCHITECTURES = (80, 86, 89, 90, 100, 120)  # of Triton's table; it makes no code for sm_75
CHECKED = (90, 120)  # of these by --check: the most shared memory, and the least


def triton_usages(cases: Sequence[Case], architectures: Sequence[int]) -> dict[Key, Usage]:
    """Compiles every kernel of both operators, on all cores."""
    jobs = [(op, case, sm) for op in OPERATORS for case in cases for sm in architectures]
    with ProcessPoolExecutor(len(os.sched_getaffinity(0)), get_context("spawn")) as pool:
        measured = list(pool.map(measure, *zip(*jobs, strict=True)))
    return {
        Key("triton", op, kernel, str(case), sm): usage
        for (op, case, sm), kernels in zip(jobs, measured, strict=True)
        for kernel, usage in kernels.items()
    }


def run(backend: str, everything: bool, library: Path | None) -> tuple[str, dict[Key, Usage]]:
    """The compiler's version, and what the kernels use."""
    if backend == "triton":
        if triton.knobs.runtime.interpret:
            raise SystemExit("TRITON_INTERPRET is set: Triton's interpreter compiles nothing")
        cases, architectures = (CASES, ARCHITECTURES) if everything else (PAPER, CHECKED)
        return triton.__version__, triton_usages(cases, architectures)
    extension = cuda_launches.load(library)
    if not extension.cuda:
        raise SystemExit(f"{extension.__file__} was built without the CUDA kernels")
    if everything and set(extension.cuda_architectures) != set(LIMITS):
        raise SystemExit(f"{extension.__file__} was not built for all of {tuple(LIMITS)}")
    return extension.cuda_version, cuda_launches.measure(extension, CASES)


def inner_loops(library: Path | None) -> dict[str, list[machine_code.Loop]]:
    """Of the CUDA kernels that run in the paper's sizes, in their plain forms."""
    extension = cuda_launches.load(library)
    names = cuda_launches.plain_kernels(extension, CASES, machine_code.SM)
    found = machine_code.read(Path(extension.__file__ or ""), machine_code.SM)
    return {name: found.get(name, []) for name in sorted(names)}


def check_code(version: str, loops: dict[str, list[machine_code.Loop]]) -> list[str]:
    """What is wrong with these; a regression that may be another compiler's is only printed."""
    compiler, table = machine_code.committed()
    wrong, worse = machine_code.faults(loops), machine_code.regressions(loops, table)
    if version == compiler:
        return wrong + worse
    for line in worse:
        print(f"{line} (the table is of CUDA {compiler}, this is {version})")
    return wrong


def check(backend: str, version: str, usages: dict[Key, Usage], table: Table) -> list[str]:
    """What is wrong with these; a regression that may be another compiler's is only printed."""
    wrong = spills(usages) + misfits(usages, table) + strangers(usages, table)
    worse = regressions(usages, table)
    known = table.compilers[backend].version
    if version == known:
        return wrong + worse
    for line in worse:
        print(f"{line} (the table is of {backend} {known}, this is {version})")
    return wrong


def main() -> None:
    """Measure, then check or write."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.compile_checks",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--check", action="store_true", help="compare the paper's size")
    what.add_argument("--check-all", action="store_true", help="compare all sizes and GPUs")
    what.add_argument("--write", action="store_true", help="write the table")
    parser.add_argument("--backends", nargs="+", choices=BACKENDS, default=BACKENDS)
    parser.add_argument("--library", type=Path, help="the extension (default: peclip_fast._C)")
    options = parser.parse_args()

    try:
        table = read(PATH.parents[2])
    except ValueError as error:
        raise SystemExit(f"error: {error}") from error
    wrong = []
    for backend in options.backends:
        version, usages = run(backend, not options.check, options.library)
        print(f"{backend} {version}: {len(usages)} of kernel, size and GPU", flush=True)
        if (
            backend == "cuda"
            and machine_code.SM in cuda_launches.load(options.library).cuda_architectures
        ):
            loops = inner_loops(options.library)
            if options.write:
                write_text(machine_code.PATH, machine_code.render(version, loops))
            wrong += check_code(version, loops)
        if options.write:
            today = datetime.now(timezone.utc).strftime("%Y-%m-%d")
            table = table.replaced(backend, Compiler(version, today), usages)
            wrong += spills(usages)
        else:
            wrong += check(backend, version, usages, table)
    if options.write:
        write_text(PATH, render(table))
    if wrong:
        raise SystemExit("\n".join(wrong))
