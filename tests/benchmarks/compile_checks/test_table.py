"""The table: written and read back, and what the comparison with it says."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.compile_checks.comparison import (
    MORE_REGISTERS,
    MORE_SHARED,
    misfits,
    regressions,
    spills,
    strangers,
)
from benchmarks.compile_checks.table import (
    FILE,
    PATH,
    Compiler,
    Table,
    parse,
    read,
    render,
    summary,
)
from benchmarks.compile_checks.usage import Key, Usage, blocks

RECURRENCE = Key("cuda", "temporal_adapter", "recurrence<bf16, true>", "768, 96, bf16", 90)
ROWS = Key("triton", "bottleneck_adapter", "rows", "768, 96, bf16", 90)
TABLE = Table(
    {"cuda": Compiler("13.0.88", "2026-11-22"), "triton": Compiler("3.9.0", "2026-11-20")},
    {
        RECURRENCE: Usage(128, 0, 67_600, 256),
        RECURRENCE._replace(sm=86): Usage(
            120, 0, 12_288, 256
        ),  # another kernel has this size on sm_75
        RECURRENCE._replace(kernel="pack<bf16>", sm=75): Usage(32, 0, 0, 128),
        RECURRENCE._replace(kernel="recurrence<fp32, true>", case=""): Usage(96, 0, 0),
        ROWS: Usage(168, 0, 41_472, 128),
        ROWS._replace(sm=120): Usage(255, 40, 40_960, 256),
    },
)


def test_written_and_read_back() -> None:
    assert parse(render(TABLE)) == TABLE


def test_cases_that_use_the_same_share_a_line() -> None:
    twice = Table({}, {ROWS: TABLE.usages[ROWS], ROWS._replace(case="512"): TABLE.usages[ROWS]})
    [line] = [line for line in render(twice).splitlines() if '"90": [168, 41472, 0]' in line]
    assert line.endswith('"cases": ["768, 96, bf16", "512"]}')
    assert parse(render(twice)) == twice
    more = Table({}, {**twice.usages, ROWS._replace(sm=120): TABLE.usages[ROWS]})
    lines = [line for line in render(more).splitlines() if '"90": [168, 41472, 0]' in line]
    assert [line.count("120") for line in lines] == [1, 0]
    assert parse(render(more)) == more


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("[168, 41472, 0]", '[168, "many", 0]', "kernel 1: ValueError.*many.*'kernel': 'rows'"),
        ("[168, 41472, 0]", "[168, 41472]", "kernel 1: ValueError"),
        ('"threads": 128', '"warps": 4', "kernel 1: KeyError.'threads'"),
        ('"kernels"', '"columns"', "expected compilers and kernels: 'kernels'"),
        ('"compilers"', "compilers", "not JSON: Expecting property name"),
    ],
)
def test_a_broken_table_is_an_error(old: str, new: str, expected: str) -> None:
    text = render(TABLE)
    assert old in text
    with pytest.raises(ValueError, match=rf"^resources\.json: {expected}"):
        parse(text.replace(old, new, 1))


def test_an_absent_table_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"resources\.json: can't be read: No such file"):
        read(tmp_path)


def test_the_summary_has_the_most_of_an_operators_kernels() -> None:
    columns = ROWS._replace(kernel="columns")
    usages = {**TABLE.usages, columns: Usage(200, 0, 1024, 128)}
    lines = summary(Table(TABLE.compilers, usages), ROWS.case, "x.json")
    assert lines[:4] == [
        "| operator | backend | kernels | sm_75 | sm_86 | sm_90 | sm_120 |",
        "| --- | --- | --: | --- | --- | --- | --- |",
        "| bottleneck_adapter | triton | 2 |  |  | 200 / 40.5 / 2 | 255 / 40 / 1 |",
        "| temporal_adapter | cuda | 1 | 32 / 0 / 8 | 120 / 12 / 2 | 128 / 66 / 2 |  |",
    ]
    assert "Kernels that spill registers: 1." in lines[-1]
    assert "cuda 13.0.88, triton 3.9.0; [all kernels and sizes](x.json)" in lines[-1]
    with pytest.raises(
        ValueError, match=r"expected a case of resources\.json, not '768, 97, bf16'"
    ):
        summary(TABLE, "768, 97, bf16", "")


def test_the_committed_table_is_as_written() -> None:
    text = PATH.read_text()
    table = read(PATH.parents[2])
    assert PATH.parents[2] / FILE == PATH
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
