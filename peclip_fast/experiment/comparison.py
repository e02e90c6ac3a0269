"""Two runs on the same test clips: which is better, and whether that is luck."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from peclip_fast.engine.statistics import Comparison, compare
from peclip_fast.errors import InputError
from peclip_fast.text_files import read_table


class Prediction(NamedTuple):
    """A line of predictions.csv."""

    label: str
    prediction: str


def read_predictions(run: Path) -> dict[str, Prediction]:
    """Label and prediction of each test clip of a run that has ended.

    By its path; a part of a video that other clips are cut from has its number behind the path.

    Raises:
        InputError: there is no predictions.csv, or it is damaged; names the line.
    """
    found: dict[str, Prediction] = {}
    parts = Counter[str]()
    for _, row in read_table(run / "predictions.csv", ("path", "label", "prediction")):
        path = row["path"]
        parts[path] += 1
        clip = path if parts[path] == 1 else f"{path} ({parts[path]})"
        found[clip] = Prediction(row["label"], row["prediction"])
    return found


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
