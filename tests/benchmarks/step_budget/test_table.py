"""What CI compares, and the page that is made of it."""

from __future__ import annotations

import pytest

from benchmarks.step_budget import table
from benchmarks.step_budget.counts import Counts


def rows() -> list[table.Row]:
    counts = Counts(launches=1000, bytes_outside=10**10, pinned=2, wide_copies=50)
    return [table.row(step, 8, "auto", counts) for step in ("train", "inference")]


def test_the_same_is_right() -> None:
    assert table.grown(rows(), rows(), same_pytorch=True) == []


@pytest.mark.parametrize("column", table.COLUMNS)
def test_any_number_that_grows_is_told(column: str) -> None:
    found = rows()
    found[1][column] += 1
    (line,) = table.grown(found, rows(), same_pytorch=True)
    assert line.startswith("('inference', 8, 'auto')")
    assert line.endswith(f"{rows()[1][column]} in the table")
    found[1][column] -= 2
    assert table.grown(found, rows(), same_pytorch=True) == []


@pytest.mark.parametrize("column", table.COLUMNS)
def test_another_pytorch_may_have_other_parts_but_nothing_that_waits(column: str) -> None:
    found = rows()
    found[0][column] = 1.01 * found[0][column] + (column in table.NEVER_MORE)
    assert bool(table.grown(found, rows(), same_pytorch=False)) == (column in table.NEVER_MORE)
    found[0][column] = 1.03 * found[0][column] + 1
    assert table.grown(found, rows(), same_pytorch=False)


def test_rows_come_and_go_by_name() -> None:
    first, second = rows()
    assert table.grown([first], rows(), same_pytorch=True) == [
        "('inference', 8, 'auto') is not counted any more"
    ]
    assert table.grown([first, second], [first], same_pytorch=True) == [
        "('inference', 8, 'auto') is not in the table"
    ]


def test_the_committed_page_is_of_the_committed_numbers() -> None:
    known, pytorch = table.read()
    assert table.PAGE.read_text() == table.as_page(known, pytorch, 16)
    assert table.as_json(known, pytorch) == table.DATA.read_text()


def test_nothing_waits_in_the_committed_steps() -> None:
    known, _ = table.read()
    assert {(row["step"], row["clips"]) for row in known} == {
        (step, clips) for step in ("train", "inference") for clips in (8, 32)
    }
    assert all(row["pageable"] == row["waits"] == 0 for row in known)
