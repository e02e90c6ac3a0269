"""The committed resources.json: writing it, reading it back, and its summary as Markdown.

A kernel's ``usage`` has by compute capability the registers of a thread, the bytes of shared memory
of a block and the bytes of stack of a thread. A kernel without threads is launched in none of the
cases. A case is D, h and dtype; under autocast the residual, the gradient of the output and the
LayerNorm are fp32.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.compile_checks.usage import Key, Usage, blocks

FILE = Path("benchmarks") / "compile_checks" / "resources.json"
PATH = Path(__file__).parents[2] / FILE


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


def render(table: Table) -> str:
    """The table as JSON, a line per kernel; cases that use the same share a line."""
    by_size: dict[tuple[str, str, str, int, str], dict[str, list[int]]] = {}
    for key, usage in sorted(table.usages.items(), key=lambda item: item[0][:3]):
        size = (key.operator, key.backend, key.kernel, usage.threads, key.case)
        found = [usage.registers, usage.shared, usage.stack]
        by_size.setdefault(size, {})[str(key.sm)] = found
    lines: dict[str, list[str]] = {}
    for (operator, backend, kernel, threads, case), used in sorted(
        by_size.items(), key=lambda item: item[0][:3]
    ):
        row = {
            "operator": operator, "backend": backend, "kernel": kernel, "threads": threads,
            "usage": dict(sorted(used.items(), key=lambda item: int(item[0]))),
        }  # fmt: skip
        lines.setdefault(json.dumps(row), []).append(case)
    kernels = [f'{line[:-1]}, "cases": {json.dumps(cases)}}}' for line, cases in lines.items()]
    compilers = {name: list(found) for name, found in sorted(table.compilers.items())}
    return (
        f'{{\n"compilers": {json.dumps(compilers)},\n"kernels": [\n'
        + ",\n".join(kernels)
        + "\n]}\n"
    )


def parse(text: str) -> Table:
    """What `render` wrote.

    Raises:
        ValueError: what is wrong with it, and in which kernel.
    """
    try:
        content = json.loads(text)
    except ValueError as error:
        raise ValueError(f"{FILE.name}: not JSON: {error}") from error
    try:
        table = Table({name: Compiler(*found) for name, found in content["compilers"].items()}, {})
        rows = list(content["kernels"])
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{FILE.name}: expected compilers and kernels: {error}") from error
    for number, row in enumerate(rows, 1):
        try:
            table.usages.update(_usages(row))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ValueError(f"{FILE.name}: kernel {number}: {error!r} in {row}") from error
    return table


def _usages(row: dict[str, Any]) -> dict[Key, Usage]:
    found = {}
    for sm, numbers in row["usage"].items():
        registers, shared, stack = map(int, numbers)
        for case in row["cases"]:
            key = Key(row["backend"], row["operator"], row["kernel"], case, int(sm))
            found[key] = Usage(registers, stack, shared, int(row["threads"]))
    return found


def read(root: Path) -> Table:
    """The committed table of a checkout.

    Raises:
        ValueError: it is not there, or not a table.
    """
    try:
        return parse((root / FILE).read_text())
    except OSError as error:
        raise ValueError(f"{FILE.as_posix()}: can't be read: {error.strerror}") from error


def summary(table: Table, case: str, link: str) -> list[str]:
    """A line per operator and backend: the most that its kernels use in a case, by GPU.

    Raises:
        ValueError: no kernel is launched in that case.
    """
    found: dict[tuple[str, str], dict[int, list[tuple[Key, Usage]]]] = {}
    for key, usage in table.usages.items():
        if key.case == case and usage.threads:
            by_sm = found.setdefault((key.operator, key.backend), {})
            by_sm.setdefault(key.sm, []).append((key, usage))
    if not found:
        raise ValueError(f"expected a case of {FILE.name}, not {case!r}")
    architectures = sorted({sm for by_sm in found.values() for sm in by_sm})
    lines = [
        ["operator", "backend", "kernels", *(f"sm_{sm}" for sm in architectures)],
        ["---", "---", "--:", *(["---"] * len(architectures))],
    ]
    for (operator, backend), by_sm in sorted(found.items()):
        count = max(len(kernels) for kernels in by_sm.values())
        cells = [_most(by_sm[sm]) if sm in by_sm else "" for sm in architectures]
        lines.append([operator, backend, str(count), *cells])
    compilers = ", ".join(f"{name} {c.version}" for name, c in sorted(table.compilers.items()))
    spilling = sum(usage.stack > 0 for usage in table.usages.values())
    spills = (
        f"Kernels that spill registers: {spilling}" if spilling else "No kernel spills registers"
    )
    return [
        *("| " + " | ".join(cells) + " |" for cells in lines),
        "",
        f"*D, h, dtype: {case}. A cell has the most registers of a thread, the most KB of shared "
        "memory of a block and the fewest blocks on a multiprocessor at once, over the operator's "
        f"kernels. Where no block fits (0), that GPU can't run it. {spills}. Compilers: "
        f"{compilers}; [all kernels and sizes]({link}).*",
    ]


def _most(kernels: list[tuple[Key, Usage]]) -> str:
    registers = max(usage.registers for _, usage in kernels)
    shared = max(usage.shared for _, usage in kernels) / 1024
    fewest = min(blocks(key, usage) or 0 for key, usage in kernels)
    return f"{registers} / {shared:.3g} / {fewest}"
