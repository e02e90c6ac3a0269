"""The committed table of what the kernels use: writing it, reading it back, comparing with it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from itertools import product
from pathlib import Path
from typing import NamedTuple

from benchmarks.cubins import Usage
from benchmarks.occupancy import blocks_per_multiprocessor

PATH = Path(__file__).parents[1] / "docs" / "kernel-resources.md"

# By so much more than in the table a kernel may use; more is a regression. Registers are given to
# a warp in steps of eight a thread.
MORE_REGISTERS, MORE_SHARED = 8, 1024

INTRODUCTION = """\
# Registers, shared memory and occupancy of the GPU kernels

Written by `python -m benchmarks.resources --write` from the compilers' own reports, without a GPU;
`--check`, which CI runs, compares a build with it. A cell is *registers of a thread / KB of shared
memory of a block / blocks that a multiprocessor holds at once*. A kernel that has a stack frame,
because it spills registers or for any other reason, would say so in its cell, and CI would fail.
Where no block fits (0), a GPU can't run that size with this backend.
A kernel without a size is not launched for any of the sizes here. "autocast": the residual, the
gradient of the output and the LayerNorm are fp32.
"""


class Key(NamedTuple):
    backend: str
    operator: str
    kernel: str
    case: str
    """D, h and dtype."""
    sm: int

    def __str__(self) -> str:
        return f"{self.operator} {self.kernel} ({self.case}) on sm_{self.sm}, {self.backend}"


class Compiler(NamedTuple):
    version: str
    date: str


class Table(NamedTuple):
    compilers: dict[str, Compiler]
    """By backend."""
    usages: dict[Key, Usage]

    def replaced(self, backend: str, compiler: Compiler, usages: dict[Key, Usage]) -> Table:
        """With these in place of all that the table has of a backend."""
        others = {key: usage for key, usage in self.usages.items() if key.backend != backend}
        return Table(self.compilers | {backend: compiler}, others | usages)


def blocks(key: Key, usage: Usage) -> int | None:
    """That a multiprocessor holds; None where it is not known how the kernel is launched."""
    if usage.threads == 0:
        return None
    return blocks_per_multiprocessor(key.sm, usage.threads, usage.registers, usage.shared)


def render(table: Table) -> str:
    """The table as Markdown."""
    lines = [INTRODUCTION]
    lines += [
        f"- {backend}: compiler {compiler.version}, {compiler.date}"
        for backend, compiler in sorted(table.compilers.items())
    ]
    sections: dict[tuple[str, str], dict[tuple[str, str, int], dict[int, str]]] = {}
    for key, usage in table.usages.items():
        rows = sections.setdefault((key.operator, key.backend), {})
        row = rows.setdefault((key.kernel, key.case, usage.threads), {})
        row[key.sm] = _cell(key, usage)
    for (operator, backend), rows in sorted(sections.items()):
        lines += ["", f"## {operator}, {backend}", "", *_section(rows)]
    return "\n".join(lines) + "\n"


def _section(rows: dict[tuple[str, str, int], dict[int, str]]) -> list[str]:
    """(kernel, case, threads) -> cells by architecture; sizes that use the same share a line."""
    architectures = sorted({sm for row in rows.values() for sm in row})
    lines: dict[tuple[str, int, tuple[str, ...]], list[str]] = {}
    for (kernel, case, threads), row in sorted(rows.items(), key=lambda item: item[0][0]):
        cells = tuple(row.get(sm, "") for sm in architectures)
        lines.setdefault((kernel, threads, cells), []).append(case)
    return [
        _line("kernel", "D, h, dtype", "threads", *(f"sm_{sm}" for sm in architectures)),
        "|---|---|--:|" + "---|" * len(architectures),
    ] + [
        _line(f"`{kernel}`", "; ".join(cases), str(threads or ""), *cells)
        for (kernel, threads, cells), cases in lines.items()
    ]


def _line(*cells: str) -> str:
    return "| " + " | ".join(cells) + " |"


def _cell(key: Key, usage: Usage) -> str:
    cell = str(usage.registers)
    if usage.threads:
        kilobytes = f"{usage.shared / 1024:.4f}".rstrip("0").rstrip(".")
        cell += f" / {kilobytes} / {blocks(key, usage)}"
    return cell + (f", {usage.stack} B stack" if usage.stack else "")


def parse(text: str) -> Table:
    """What `render` wrote."""
    table = Table({}, {})
    operator = backend = ""
    architectures: list[int] = []
    for line in text.splitlines():
        if found := re.fullmatch(r"- (\w+): compiler (\S+), (\S+)", line):
            table.compilers[found[1]] = Compiler(found[2], found[3])
        elif found := re.fullmatch(r"## (\w+), (\w+)", line):
            operator, backend = found.groups()
        elif line.startswith("| kernel"):
            architectures = [int(sm) for sm in re.findall(r"sm_(\d+)", line)]
        elif line.startswith("| `"):
            kernel, cases, threads, *cells = (cell.strip() for cell in line[1:-1].split("|"))
            for case, (sm, cell) in product(
                cases.split("; "), zip(architectures, cells, strict=True)
            ):
                if cell:
                    key = Key(backend, operator, kernel.strip("`"), case, sm)
                    table.usages[key] = _usage(cell, int(threads or 0))
    return table


def _usage(cell: str, threads: int) -> Usage:
    found = re.fullmatch(r"(\d+)(?: / ([\d.]+) / \d+)?(?:, (\d+) B stack)?", cell)
    if found is None:
        raise ValueError(f"{PATH.name}: not a cell: {cell!r}")
    registers, kilobytes, stack = found.groups(default="0")
    return Usage(int(registers), int(stack), round(float(kilobytes) * 1024), threads)


def spills(measured: Mapping[Key, Usage]) -> list[str]:
    """A line per kernel that has a stack frame."""
    return [
        f"{key}: spills, {usage.stack} bytes of stack"
        for key, usage in measured.items()
        if usage.stack
    ]


def misfits(measured: Mapping[Key, Usage], table: Table) -> list[str]:
    """A line per kernel that no multiprocessor holds a block of, unless the table says so."""
    return [
        f"{key}: no multiprocessor holds a block of {usage.threads} threads, "
        f"{usage.registers} registers each, {usage.shared} bytes of shared memory"
        for key, usage in measured.items()
        if blocks(key, usage) == 0 and blocks(key, table.usages.get(key, Usage(0, 0, 0))) != 0
    ]


def strangers(measured: Mapping[Key, Usage], table: Table) -> list[str]:
    """A line per kernel that only one of the two has, among the sizes that were measured."""
    sizes = {key._replace(kernel="") for key in measured}
    lines = [f"{key}: not in the table" for key in measured if key not in table.usages]
    return lines + [
        f"{key}: in the table, but no longer made"
        for key in table.usages
        if key not in measured and key._replace(kernel="") in sizes
    ]


def regressions(measured: Mapping[Key, Usage], table: Table) -> list[str]:
    """A line per kernel that uses more than the table says, beyond the margins."""
    lines = []
    for key, usage in measured.items():
        before = table.usages.get(key, usage)
        if usage.registers > before.registers + MORE_REGISTERS:
            lines.append(f"{key}: {usage.registers} registers, {before.registers} in the table")
        if usage.shared > before.shared + MORE_SHARED:
            lines.append(
                f"{key}: {usage.shared} bytes of shared memory, {before.shared} in the table"
            )
    return lines
