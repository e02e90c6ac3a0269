"""The table: written and read back, and what the comparison with it says."""

from __future__ import annotations

import pytest

from benchmarks.cubins import Usage
from benchmarks.resource_table import (
    MORE_REGISTERS,
    MORE_SHARED,
    PATH,
    Compiler,
    Key,
    Table,
    blocks,
    misfits,
    parse,
    regressions,
    render,
    spills,
    strangers,
)

RECURRENCE = Key("cuda", "temporal_adapter", "recurrence<bf16, true>", "768, 96, bf16", 90)
ROWS = Key("triton", "bottleneck_adapter", "rows", "768, 96, bf16", 90)
TABLE = Table(
    {"cuda": Compiler("13.0.88", "2026-11-22"), "triton": Compiler("3.9.0", "2026-11-20")},
    {
        RECURRENCE: Usage(128, 0, 67_600, 256),
        # On sm_75 another kernel has this size.
        RECURRENCE._replace(sm=86): Usage(120, 0, 12_288, 256),
        RECURRENCE._replace(kernel="pack<bf16>", sm=75): Usage(32, 0, 0, 128),
        RECURRENCE._replace(kernel="recurrence<fp32, true>", case=""): Usage(96, 0, 0),
        ROWS: Usage(168, 0, 41_472, 128),
        ROWS._replace(sm=120): Usage(255, 40, 40_960, 256),
    },
)


def test_written_and_read_back() -> None:
    assert parse(render(TABLE)) == TABLE


def test_a_cell() -> None:
    text = render(TABLE)
    row = next(line for line in text.splitlines() if line.startswith("| `rows` "))
    assert row == "| `rows` | 768, 96, bf16 | 128 | 168 / 40.5 / 3 |  |"
    assert "| 255 / 40 / 1, 40 B stack |" in text
    assert "| `recurrence<fp32, true>` |  |  |  |  | 96 |" in text


def test_a_broken_cell_is_an_error() -> None:
    with pytest.raises(ValueError, match="not a cell: '168 / many / 3'"):
        parse(render(TABLE).replace("168 / 40.5 / 3", "168 / many / 3"))


def test_the_committed_table_is_as_written() -> None:
    text = PATH.read_text()
    table = parse(text)
    assert render(table) == text
    assert {key.backend for key in table.usages} == set(table.compilers) == {"cuda", "triton"}


def test_nothing_committed_spills() -> None:
    assert spills(parse(PATH.read_text()).usages) == []


def test_spills_are_named() -> None:
    assert spills(TABLE.usages) == [
        "bottleneck_adapter rows (768, 96, bf16) on sm_120, triton: spills, 40 bytes of stack"
    ]


def test_a_block_that_no_longer_fits_is_named() -> None:
    small = RECURRENCE._replace(sm=86)
    big = {small: Usage(64, 0, 102_400, 256)}
    assert misfits(TABLE.usages, TABLE) == []
    assert misfits(big, TABLE) == [
        "temporal_adapter recurrence<bf16, true> (768, 96, bf16) on sm_86, cuda: no multiprocessor "
        "holds a block of 256 threads, 64 registers each, 102400 bytes of shared memory"
    ]
    assert misfits(big, Table({}, big)) == []


def test_occupancy_is_not_guessed() -> None:
    assert blocks(RECURRENCE, Usage(128, 0, 0)) is None
    assert blocks(RECURRENCE, Usage(128, 0, 0, 256)) == 2


def test_new_and_vanished_kernels_are_named() -> None:
    new = ROWS._replace(kernel="columns")
    assert strangers({new: Usage(32, 0, 0, 128)}, TABLE) == [
        f"{new}: not in the table",
        f"{ROWS}: in the table, but no longer made",
    ]
    assert strangers({ROWS: TABLE.usages[ROWS]}, TABLE) == []


def test_margins() -> None:
    registers, _, shared, threads = TABLE.usages[ROWS]
    most = Usage(registers + MORE_REGISTERS, 0, shared + MORE_SHARED, threads)
    assert regressions({ROWS: most}, TABLE) == []
    assert regressions({ROWS: most._replace(registers=most.registers + 1)}, TABLE) == [
        f"{ROWS}: {most.registers + 1} registers, 168 in the table"
    ]
    assert regressions({ROWS: most._replace(shared=most.shared + 1)}, TABLE) == [
        f"{ROWS}: {most.shared + 1} bytes of shared memory, 41472 in the table"
    ]
