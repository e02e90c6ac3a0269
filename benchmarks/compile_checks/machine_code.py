"""What stands in the inner loops of the CUDA kernels' machine code.

A loop is what lies between a backward branch and its target; the inner ones here are those with a
product (HMMA) that have no other such loop in them. One pass through one is a step of the kernel:
a chunk of D for a tile of rows, or a frame of a block's sequences.
"""

from __future__ import annotations

import json
import re
import subprocess
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from benchmarks.compile_checks.cubins import CUOBJDUMP, readable

_INSTRUCTION = re.compile(r"^\s*/\*([0-9a-f]{4,})\*/\s+(?:@!?U?P\d+\s+)?([A-Z][A-Z0-9_.]*)([^;]*);")
_FUNCTION = re.compile(r"^\s*Function : (\S+)")


SM = 90  # whose code is looked at
MORE = 1.05  # times as many instructions as in the table are a regression
PATH = Path(__file__).with_name("instructions.json")


class Loop(NamedTuple):
    """An inner loop."""

    instructions: int
    products: int
    """HMMA."""
    generic_loads: int
    """That find out which memory they read from, where LDS or LDG would know."""
    local: int
    """Loads and stores of spilled registers."""


def read(file: Path, sm: int) -> dict[str, list[Loop]]:
    """The inner loops of each kernel in a library, an object file or a cubin."""
    command = [str(CUOBJDUMP), "-sass", "-arch", f"sm_{sm}", str(file)]
    if file.suffix == ".cubin":
        command = [str(CUOBJDUMP), "-sass", str(file)]
    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return parse(subprocess.run(
        ["c++filt"], input=text, check=True, capture_output=True, text=True
    ).stdout)  # fmt: skip


def parse(text: str) -> dict[str, list[Loop]]:
    """Of what ``cuobjdump -sass`` prints, with demangled names."""
    kernels: dict[str, list[Loop]] = {}
    name, code = "", []
    for line in [*text.splitlines(), "Function : "]:
        if "Function : " in line:
            if code:
                kernels[name] = inner_loops(code)
            name, code = readable(line.partition("Function : ")[2].strip()), []
        elif found := _INSTRUCTION.match(line):
            code.append((int(found[1], 16), found[2], found[3]))
    return kernels


def inner_loops(code: list[tuple[int, str, str]]) -> list[Loop]:
    """Of a function's instructions: address, name, operands."""
    spans = []
    for address, name, operands in code:
        target = re.search(r"0x([0-9a-f]+)", operands)
        if name.startswith("BRA") and target and int(target[1], 16) <= address:
            spans.append((int(target[1], 16), address))
    with_products = [
        (first, last)
        for first, last in spans
        if any(first <= at <= last and name.startswith("HMMA") for at, name, _ in code)
    ]
    inner = [
        span
        for span in with_products
        if not any(o != span and span[0] <= o[0] and o[1] <= span[1] for o in with_products)
    ]
    return [_loop([name for at, name, _ in code if first <= at <= last]) for first, last in inner]


def _loop(names: list[str]) -> Loop:
    kinds = Counter(name.split(".")[0] for name in names)
    return Loop(
        sum(kinds.values()) - kinds["NOP"], kinds["HMMA"], kinds["LD"], kinds["LDL"] + kinds["STL"]
    )


def faults(kernels: Mapping[str, list[Loop]]) -> list[str]:
    """A line for each kernel whose inner loops have what none may have."""
    lines = []
    for name, loops in sorted(kernels.items()):
        if not loops:
            lines.append(f"{name}: no loop with a product was found")
        for loop in loops:
            if loop.generic_loads:
                lines.append(f"{name}: {loop.generic_loads} generic loads in an inner loop")
            if loop.local:
                lines.append(f"{name}: {loop.local} spilled registers in an inner loop")
    return lines


def regressions(kernels: Mapping[str, list[Loop]], table: Mapping[str, list[Loop]]) -> list[str]:
    """A line for each kernel that has more instructions than the table says, or other kernels."""
    lines = [f"{name}: not in {PATH.name}" for name in sorted(kernels) if name not in table]
    lines += [
        f"{name}: in {PATH.name} but not made" for name in sorted(table) if name not in kernels
    ]
    for name in sorted(set(kernels) & set(table)):
        now, before = (sum(loop.instructions for loop in of[name]) for of in (kernels, table))
        if now > MORE * before:
            lines.append(f"{name}: {now} instructions in its inner loops, {before} in the table")
    return lines


def render(compiler: str, kernels: Mapping[str, list[Loop]]) -> str:
    """The table as JSON, a line for each kernel."""
    rows = [
        json.dumps({"kernel": name, "loops": [loop._asdict() for loop in loops]})
        for name, loops in sorted(kernels.items())
    ]
    return f'{{"compiler": "{compiler}", "sm": {SM}, "kernels": [\n' + ",\n".join(rows) + "\n]}\n"


def committed(path: Path = PATH) -> tuple[str, dict[str, list[Loop]]]:
    """The compiler's version, and the table."""
    found = json.loads(path.read_text())
    rows = {row["kernel"]: [Loop(**loop) for loop in row["loops"]] for row in found["kernels"]}
    return found["compiler"], rows
