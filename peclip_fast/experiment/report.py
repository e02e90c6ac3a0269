"""What an experiment has shown, next to what was published."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any

from peclip_fast.engine.statistics import Estimate, estimate
from peclip_fast.experiment.cell_folder import Result
from peclip_fast.experiment.intervals import Line, intervals_png
from peclip_fast.experiment.paired import differences, p_of_clips, pairs
from peclip_fast.experiment.plan import BESIDE, Plan, PlannedRow
from peclip_fast.experiment.published import Table, read_table
from peclip_fast.experiment.verdict import verdict
from peclip_fast.files import write_bytes, write_text
from peclip_fast.plots.page import (
    Block,
    Heading,
    Picture,
    Sentences,
    TableBlock,
    as_html,
    as_markdown,
)

METRICS = ("UAR", "WAR")
PICTURE = "intervals.png"
_DEMO = "These are runs of the built-in demo: rendered faces, not real data."
_NOT_COMPARED = (
    "The published numbers are of real videos, so no difference to them is taken; what can be "
    "compared is which settings are ahead of which."
)


class ExperimentReport:
    """An experiment's results so far.

    Args:
        plan: the experiment.
        results: cell name -> result, of the runs that have ended, other experiments' among them.
        failures: cell name -> reason, of those that could not.
        runs: the folder of all runs, whose predictions are compared where the experiment does so.
    """

    def __init__(
        self,
        plan: Plan,
        results: Mapping[str, Result],
        failures: Mapping[str, str],
        runs: Path | None = None,
    ) -> None:
        self.plan, self.runs = plan, runs
        self.experiment = plan.experiment
        self.table = read_table(plan.experiment.table)
        self.names = {cell.name for row in plan.rows for cell in row.cells}
        self.results = {name: one for name, one in results.items() if name in self.names}
        self.failures = failures

    # Numbers -----------------------------------------------------------------------------------

    def ended(self, row: PlannedRow) -> list[Result]:
        """The results of a row's runs that have ended."""
        return [self.results[c.name] for c in row.cells if c.name in self.results]

    def ours(self, row: PlannedRow) -> dict[str, Estimate]:
        """Metric or class -> mean over a row's runs, empty before the first has ended."""
        ended = self.ended(row)
        if not ended:
            return {}
        values = {"UAR": [r.uar for r in ended], "WAR": [r.war for r in ended]}
        for name in ended[0].recalls:
            values[name] = [r.recalls[name] for r in ended if name in r.recalls]
        return {name: estimate(numbers) for name, numbers in values.items()}

    def published(self, row: PlannedRow) -> dict[str, float]:
        """Metric or class -> percent as printed."""
        scores = row.published.scores(self.experiment.dataset)
        found = {} if scores is None else {"UAR": scores.uar, "WAR": scores.war}
        return found | row.published.recalls

    # Words -------------------------------------------------------------------------------------

    @property
    def title(self) -> str:
        """Of the page."""
        return f"{self.experiment.name}: {self.table.title}"

    @property
    def missing(self) -> int:
        """Runs that have not ended."""
        return len(self.names) - len(self.results)

    def settings(self) -> str:
        """How ours were made."""
        config = self.plan.rows[0].config
        cells = [cell.config for row in self.plan.rows for cell in row.cells]
        folds = _list("fold", sorted({c.data.fold for c in cells}))
        seeds = _list("seed", sorted({c.train.seed for c in cells}))
        told = {(r.protocol, r.device, r.torch) for r in self.results.values()}
        protocols, devices, versions = (
            "; ".join(sorted(set(column))) for column in zip(*told, strict=True)
        ) if told else ("no run has ended yet", "-", "-")  # fmt: skip
        where = "" if self.experiment.demo else f"{folds}, "
        return (
            f"Ours: recipe {' '.join(self.experiment.recipe)}, {where}{seeds}, "
            f"{config.epochs} epochs, {config.train.precision}, {config.model.backbone}. "
            f"Protocol: {protocols}. Device: {devices}; torch {versions}; "
            f"{datetime.now():%Y-%m-%d}."
        )

    def verdict(self) -> str | None:
        """Whether rows of one kind are ahead of those of the other, by more than the interval.

        None where the experiment compares no kinds, has not both, or runs are missing.
        """
        contrast = self.experiment.contrast
        if contrast is None:
            return None
        kinds: dict[bool, dict[str, Estimate]] = {True: {}, False: {}}
        for row in self.plan.rows:
            if len(self.ended(row)) < len(row.cells):
                return None
            kinds[contrast.among(row.config.model)][row.published.name] = self.ours(row)["UAR"]
        return verdict(contrast, kinds[True], kinds[False]) if all(kinds.values()) else None

    # The page ----------------------------------------------------------------------------------

    def blocks(self) -> list[Block]:
        """The page."""
        blocks: list[Block] = [Heading(self.title, 1)]
        if self.table.source:
            protocol = self.table.protocol or "not said"
            blocks.append(Sentences(f"{self.table.source}. Published protocol: {protocol}."))
        blocks.append(Sentences(self.settings()))
        if self.experiment.demo:
            published = f" {_NOT_COMPARED}" if self.table.source else ""
            blocks.append(Sentences(_DEMO + published))
        if self.missing:
            blocks.append(Sentences(f"Runs that have not ended: {self.missing}."))
        blocks.append(self._scores())
        verdict = self.verdict()
        if verdict:
            blocks.append(Sentences(verdict))
        if self.results:
            blocks.append(Picture(PICTURE, self._picture(), f"{self.title}, means and intervals"))
            blocks += self._paired()
            blocks.append(self._cost())
        blocks += [self._recalls(row) for row in self.plan.rows if row.published.recalls]
        blocks += [Sentences(note) for note in self.table.notes]
        if not self.experiment.demo and "venue" in self.table.columns:
            blocks.append(Heading("Next to other methods"))
            names = (self.table.name, *BESIDE.get(self.table.name, ()))
            blocks += [self._methods(read_table(name)) for name in names]
        blocks += [Heading("Runs"), self._runs()]
        return blocks

    def _scores(self) -> TableBlock:
        columns = ["Setting"]
        for metric in METRICS:
            columns += [f"{metric}, published", f"{metric}, ours", "difference"]
        columns += ["trained (M), published", "trained, ours", "time of a run", "runs"]
        rows = []
        for row in self.plan.rows:
            ended = self.ended(row)
            cells = [row.published.name]
            for metric in METRICS:
                cells += self._beside(row, metric)
            parameters = row.published.parameters
            cells.append("" if parameters is None else f"{parameters:g}")
            cells.append(f"{ended[0].trained:,}" if ended else "")
            cells.append(_duration(sum(r.seconds for r in ended) / len(ended)) if ended else "")
            cells.append(f"{len(ended)} of {len(row.cells)}")
            rows.append(cells)
        kept = list(range(len(columns)))
        if not any(self.published(row) for row in self.plan.rows):
            kept = [i for i in kept if not columns[i].endswith(("published", "difference"))]
        return TableBlock(
            "Percent; mean ± half of its 95 % interval (Student's t) and standard deviation (sd), "
            "over the runs of a setting",
            [columns[i] for i in kept],
            [[row[i] for i in kept] for row in rows],
        )

    def _paired(self) -> list[Block]:
        """The other rows against the one that the experiment names, if it does."""
        base = next(
            (r for r in self.plan.rows if r.published.name == self.experiment.baseline), None
        )
        if base is None:
            return []
        rows = []
        for row in self.plan.rows:
            found = pairs(base, row, self.results)
            if row is base or not found:
                continue
            p = None if self.runs is None else p_of_clips(base, row, self.results, self.runs)
            told = [_interval(one, "+.2f") for one in differences(found).values()]
            rows.append([
                row.published.name, *told, str(len(found)), "" if p is None else f"{p:.2g}"
            ])  # fmt: skip
        caption = (
            f"Points more than {base.published.name}, by pairs of runs with the same fold and "
            "seed; mean ± half of its 95 % interval. p: McNemar's exact test over the clips of all "
            "folds, of the first seed's runs; not corrected for the number of rows"
        )
        return [TableBlock(caption, ["Setting", "UAR", "WAR", "pairs", "p"], rows)] if rows else []

    def _cost(self) -> TableBlock:
        """What training a row takes."""
        rows = []
        for row in self.plan.rows:
            costs = [r.cost for r in self.ended(row) if r.cost is not None]
            if not costs:
                continue
            number = len(costs)
            memory = [c.memory for c in costs if c.memory is not None]
            rows.append([
                row.published.name,
                f"{self.ended(row)[0].trained:,}",
                f"{1000 * sum(c.step for c in costs) / number:.0f}",
                f"{sum(c.clips_per_second for c in costs) / number:.1f}",
                f"{max(memory) / 2**30:.2f}" if memory else "",
            ])  # fmt: skip
        caption = (
            "Cost of training, the mean over runs: a batch's time without waiting for clips, clips "
            "per second with it, and the peak of the GPU's memory, or else of the process's"
        )
        columns = ["Setting", "trained", "batch (ms)", "clips/s", "memory (GiB)"]
        return TableBlock(caption, columns, rows)

    def _beside(self, row: PlannedRow, metric: str) -> list[str]:
        """Published, ours, and the difference."""
        published, ours = self.published(row).get(metric), self.ours(row).get(metric)
        cells = ["" if published is None else f"{published:.2f}", _interval(ours)]
        if published is None or ours is None or self.experiment.demo:
            return [*cells, ""]
        return [*cells, f"{ours.mean - published:+.2f}"]

    def _recalls(self, row: PlannedRow) -> TableBlock:
        names = dict.fromkeys([*row.published.recalls, *list(self.ours(row))[len(METRICS) :]])
        rows = [[name, *self._beside(row, name)] for name in names]
        columns = ["Class", "published", "ours", "difference"]
        return TableBlock("Recall of each expression, percent", columns, rows)

    def _methods(self, table: Table) -> TableBlock:
        columns = {key: heading for key, heading in table.columns.items() if key != "config"}
        rows = [[_printed(row.cells[key]) for key in columns] for row in table.rows]
        for row in self.plan.rows:
            known: dict[str, str] = {"name": f"{row.published.name} (ours)"}
            known["backbone"] = row.config.model.backbone
            for key, one in self.ours(row).items():
                metric = f"{self.experiment.dataset}.{key.lower()}"
                known[metric if key in METRICS else f"recall.{key}"] = f"{one.mean:.2f}"
                known["parameters"] = f"{self.ended(row)[0].trained / 1e6:.1f}"
            rows.append([known.get(key, "") for key in columns])
        headings = list(columns.values())
        words = [i for i, key in enumerate(columns) if key in ("venue", "backbone")]
        ours = range(len(table.rows), len(rows))
        return TableBlock(f"{table.source}: {table.title}", headings, rows, ours, words)

    def _runs(self) -> TableBlock:
        rows = []
        for row in self.plan.rows:
            for cell in row.cells:
                result = self.results.get(cell.name)
                numbers = ["", "", ""]
                if result:
                    scores = [f"{result.uar:.2f}", f"{result.war:.2f}"]
                    numbers = [*scores, _duration(result.seconds)]
                state = "ended" if result else self.failures.get(cell.name, "not run yet")
                config = cell.config
                which = [str(config.data.fold), str(config.train.seed)]
                rows.append([row.published.name, *which, *numbers, state, cell.name])
        columns = ["Setting", "fold", "seed", "UAR", "WAR", "time", "state", "run folder"]
        caption = "Every run; settings that are the same share theirs"
        return TableBlock(caption, columns, rows, words=(6, 7))

    def _picture(self) -> bytes:
        lines = [
            Line(
                row.published.name,
                {name: one for name, one in self.ours(row).items() if name in METRICS},
                {} if self.experiment.demo else self.published(row),
            )
            for row in self.plan.rows
        ]
        return intervals_png(lines, self.title)

    # Files -------------------------------------------------------------------------------------

    def as_json(self) -> dict[str, Any]:
        """The numbers for programs; rates in percent."""
        return {
            "experiment": self.experiment.name,
            "demo": self.experiment.demo,
            "table": self.table.source,
            "settings": self.settings(),
            "missing_runs": self.missing,
            "verdict": self.verdict(),
            "rows": [
                {
                    "name": row.published.name,
                    "config": row.published.config,
                    "published": self.published(row),
                    "ours": {name: asdict(one) for name, one in self.ours(row).items()},
                    "runs": {
                        c.name: asdict(self.results[c.name]) if c.name in self.results else None
                        for c in row.cells
                    },
                }
                for row in self.plan.rows
            ],
        }

    def write(self, folder: Path) -> None:
        """Write report.md with its picture, report.html and report.json."""
        folder.mkdir(parents=True, exist_ok=True)
        blocks = self.blocks()
        for block in blocks:
            if isinstance(block, Picture):
                write_bytes(folder / block.file, block.png)
        write_text(folder / "report.md", as_markdown(blocks))
        write_text(folder / "report.html", as_html(self.title, blocks))
        write_text(folder / "report.json", json.dumps(self.as_json(), indent=1) + "\n")


def _interval(one: Estimate | None, form: str = ".2f") -> str:
    if one is None:
        return ""
    if one.margin is None:
        return f"{one.mean:{form}}"
    return f"{one.mean:{form}} ± {one.margin:.2f} (sd {one.deviation:.2f})"


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}"


def _list(word: str, numbers: Sequence[int]) -> str:
    many = "s" if len(numbers) > 1 else ""
    return f"{word}{many} {', '.join(map(str, numbers))}"


def _printed(value: object) -> str:
    if value is None:
        return ""
    return f"{value:.2f}" if isinstance(value, float) else str(value)
