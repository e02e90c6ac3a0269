"""Two runs on the same test clips: which is better, and whether that is luck."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from peclip_fast.engine.statistics import Comparison, compare
from peclip_fast.errors import InputError


class Prediction(NamedTuple):
    """A line of predictions.csv."""

    label: str
    prediction: str


def read_predictions(run: Path) -> dict[str, Prediction]:
    """Label and prediction of each test clip of a run that has ended, by its path."""
    path = run / "predictions.csv"
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
    except (OSError, ValueError, csv.Error) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"{path}: can't be read ({reason}); expected a run's") from error
    columns = {"path", "label", "prediction"}
    for number, row in enumerate(rows, 2):
        if not columns <= row.keys() or None in (row["path"], row["label"], row["prediction"]):
            raise InputError(f"{path}:{number}: expected the columns path, label and prediction")
    return {row["path"]: Prediction(row["label"], row["prediction"]) for row in rows}


def compare_runs(
    first: dict[str, Prediction], second: dict[str, Prediction], runs: Sequence[Path]
) -> Comparison:
    """The comparison, over the same clips; InputError where these or their labels differ."""
    lone = sorted(first.keys() ^ second.keys())
    if lone:
        raise InputError(
            f"{runs[0]} and {runs[1]} have classified different clips: {len(lone)} are only in one "
            f"of them, such as {lone[0]}; expected runs with the same test split"
        )
    for path in first:
        if first[path].label != second[path].label:
            raise InputError(
                f"{path}: labelled {first[path].label} in {runs[0]}, {second[path].label} in "
                f"{runs[1]}; expected the same classes"
            )
    return compare(
        [p.label for p in first.values()],
        [p.prediction for p in first.values()],
        [second[path].prediction for path in first],
    )


def as_text(found: Comparison, runs: Sequence[Path]) -> str:
    """The comparison for people."""
    return "\n".join([
        f"{runs[1]} less {runs[0]}, {found.clips} clips",
        f"WAR {100 * found.war:+.2f} points, p = {found.p_value:.3g} (McNemar, exact: "
        f"{found.only_second} clips right only in {runs[1].name}, {found.only_first} only in "
        f"{runs[0].name})",
        f"UAR {100 * found.uar:+.2f} points, 95 % interval {100 * found.uar_low:+.2f} to "
        f"{100 * found.uar_high:+.2f} (bootstrap over clips)",
    ])  # fmt: skip
