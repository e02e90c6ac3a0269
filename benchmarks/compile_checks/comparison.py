"""What is wrong with measured kernels, and where they are worse than in the committed table."""

from __future__ import annotations

from collections.abc import Mapping

from benchmarks.compile_checks.table import Table
from benchmarks.compile_checks.usage import Key, Usage, blocks

# By so much more than in the table a kernel may use; more is a regression. Registers are given to
# a warp in steps of eight a thread.
MORE_REGISTERS, MORE_SHARED = 8, 1024


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
