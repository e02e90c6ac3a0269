"""Rows against one of them, run by run and clip by clip."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from peclip_fast.engine.statistics import Estimate, estimate
from peclip_fast.experiment.cell_folder import CellFolder, Result
from peclip_fast.experiment.comparison import Prediction, compare_runs, read_predictions
from peclip_fast.experiment.plan import PlannedRow

Pairs = list[tuple[Result, Result]]


def pairs(first: PlannedRow, second: PlannedRow, results: Mapping[str, Result]) -> Pairs:
    """The runs of two rows with the same fold and seed, both of which have ended."""
    cells = zip(first.cells, second.cells, strict=True)
    return [
        (results[a.name], results[b.name])
        for a, b in cells
        if a.name in results and b.name in results
    ]


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

    One seed, as the same clip by several isn't several clips. None until these runs have ended.
    """
    seed = min(cell.config.train.seed for cell in first.cells)
    both: tuple[dict[str, Prediction], dict[str, Prediction]] = ({}, {})
    for said, row in zip(both, (first, second), strict=True):
        for cell in row.cells:
            if cell.config.train.seed == seed:
                if cell.name not in results:
                    return None
                said.update(read_predictions(CellFolder(runs, cell).run.path))
    names = [Path(row.published.name) for row in (first, second)]
    return compare_runs(*both, names).p_value
