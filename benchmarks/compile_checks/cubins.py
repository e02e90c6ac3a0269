"""What the compiler used for each kernel, read from cubins and from the extension that holds them.

``cuobjdump -res-usage`` prints what ptxas wrote down. A stack frame is memory, be it for spilled
registers, for an array with a computed index, or for a function that was not inlined; of a function
that calls others it is the deepest sum.
"""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import triton

from benchmarks.compile_checks.usage import Usage

CUOBJDUMP = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"
TYPES = {"__nv_bfloat16": "bf16", "__half": "fp16", "float": "fp32"}
SYSTEM_SHARED = 1024  # that is counted as a kernel's own from sm_90 on


def read(file: Path) -> dict[tuple[str, int], Usage]:
    """(kernel, compute capability) -> usage, of a library, an object file or a cubin (then 0).

    `shared` is what a kernel declares; what a launch adds is not in there.
    """
    report = _output([str(CUOBJDUMP), "-res-usage", str(file)])
    return parse(_output(["c++filt"], report))


def _output(command: list[str], text: str | None = None) -> str:
    return subprocess.run(command, input=text, check=True, capture_output=True, text=True).stdout


def parse(report: str) -> dict[tuple[str, int], Usage]:
    """Read the demangled report of ``cuobjdump -res-usage``."""
    usages = {}
    sm, kernel = 0, ""
    for line in map(str.strip, report.splitlines()):
        if line.startswith("arch = sm_"):
            sm = int(line.removeprefix("arch = sm_").rstrip("af"))
        elif line.startswith("Function "):
            kernel = readable(line.removeprefix("Function ").removesuffix(":"))
        elif line.startswith("REG:"):
            count = dict(re.findall(r"(\w+)(?:\[\d+\])?:(\S+)", line))
            shared = int(count["SHARED"]) - (SYSTEM_SHARED if sm >= 90 else 0)
            stack = int(count["STACK"]) + int(count["LOCAL"])
            usages[kernel, sm] = Usage(int(count["REG"]), stack, max(shared, 0))
    return usages


def readable(signature: str) -> str:
    """``void a::up_kernel<float, true>(a::Arguments)`` -> ``up<fp32, true>``."""
    name = signature.removeprefix("void ").replace("(anonymous namespace)::", "")
    depth = 0
    for i, letter in enumerate(name):
        depth += (letter == "<") - (letter == ">")
        if letter == "(" and depth == 0:
            name = name[:i]
            break
    name = re.sub(r"\w+::", "", name)
    name = re.sub(r"\w+", lambda word: TYPES.get(word[0], word[0]), name)
    return re.sub(r"_kernel(?=<|$)", "", name)
