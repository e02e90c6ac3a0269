"""Rows against one of them, run by run and clip by clip."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from peclip_fast.engine.statistics import Estimate, estimate
from peclip_fast.experiment.cell_folder import CellFolder, Result
from peclip_fast.experiment.comparison import Prediction, compare_runs, read_predictions
from peclip_fast.experiment.plan import Cell, PlannedRow

Pairs = list[tuple[Result, Result]]


def pairs(first: PlannedRow, second: PlannedRow, results: Mapping[str, Result]) -> Pairs:
    """The runs of two rows with the same fold and seed, both of which have ended."""
    others = {_place(cell): cell.name for cell in second.cells}
    names = [(cell.name, others.get(_place(cell), "")) for cell in first.cells]
    return [(results[a], results[b]) for a, b in names if a in results and b in results]


def _place(cell: Cell) -> tuple[int, int]:
    return cell.config.data.fold, cell.config.train.seed


def differences(found: Pairs) -> dict[str, Estimate]:
    """UAR and WAR of the second less those of the first, in points; at least one pair."""
    return {
        "UAR": estimate([b.uar - a.uar for a, b in found]),
        "WAR": estimate([b.war - a.war for a, b in found]),
    }


def p_of_clips(
    first: PlannedRow, second: PlannedRow, results: Mapping[str, Result], runs: Path
) -> float | None:
    """McNemar's exact test of the clips of all folds, by the first seed's runs.

    One seed, as the same clip by several isn't several clips. None until these runs have ended, and
    where the rows have other seeds.
    """
    seed = min(cell.config.train.seed for cell in first.cells)
    rows = [[c for c in row.cells if c.config.train.seed == seed] for row in (first, second)]
    if not all(rows) or any(cell.name not in results for row in rows for cell in row):
        return None
    said: list[dict[str, Prediction]] = [{}, {}]
    for found, row in zip(said, rows, strict=True):
        for cell in row:
            found.update(read_predictions(CellFolder(runs, cell).run.path))
    names = [Path(row.published.name) for row in (first, second)]
    return compare_runs(said[0], said[1], names).p_value
