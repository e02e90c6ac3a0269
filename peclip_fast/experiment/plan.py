"""The experiments by name, and the training runs that they are made of."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from peclip_fast.config.layers import config_layers, config_names, config_path, read_yaml
from peclip_fast.config.run import FREE_TO_CHANGE, RunConfig, differences
from peclip_fast.errors import InputError, hint
from peclip_fast.experiment.contrast import CUES, ORDER, TIME, Contrast
from peclip_fast.experiment.published import Row, read_table

OURS = "PE-CLIP"  # the row of the tables of methods that is trained here
BESIDE = {
    "pe-clip-table3": ("finecliper-table1",),
    "pe-clip-table4": ("finecliper-table2",),
    "finecliper-table1": ("pe-clip-table3",),
}
# What makes the demo's recipes short: fewer frames and epochs than when it is run by itself, and
# a core for each cell, since several cells at once end sooner than one on several cores.
_QUICK: dict[str, Any] = {
    "data": {"frames": 4, "num_workers": 0},
    "train": {"epochs": 6, "warmup_epochs": 1, "threads": 1, "test_every": 0},
}
# Of parsing maps and contours its small CLIP has seen none.
_LONGER: dict[str, Any] = {"train": {"epochs": 12}}


@dataclass(frozen=True)
class Experiment:
    """A published table to be made again, or one of ours.

    Args:
        name: of the experiment.
        table: as read_table() takes it.
        recipe: configurations that the table's rows go over, the dataset's first.
        dataset: whose published scores stand next to ours.
        folds: test folds; none leaves the configuration's own.
        repeats: seeds, counted from the configuration's own.
        contrast: the kinds of rows that the report compares, where it does.
        quick: options that make the demo's recipes short.
        baseline: the row that all others are compared with, run by run, if one is.
    """

    name: str
    table: str
    recipe: tuple[str, ...]
    dataset: str
    folds: tuple[int, ...] = ()
    repeats: int = 1
    contrast: Contrast | None = None
    quick: tuple[dict[str, Any], ...] = ()
    baseline: str | None = None

    @property
    def demo(self) -> bool:
        """Whether it runs on drawn faces."""
        return self.recipe[0].startswith("demo")

    def rows(self) -> list[Row]:
        """The rows that are trained."""
        table = read_table(self.table)
        if table.source is None:
            return list(table.rows)
        chosen = [row for row in table.rows if row.config]
        return chosen or [row for row in table.rows if row.name == OURS]


def _experiments() -> dict[str, Experiment]:
    folds, dfew, fine = (1, 2, 3, 4, 5), ("dfew",), ("dfew", "finecliper/video")
    found = [
        Experiment("table3-dfew", "pe-clip-table3", dfew, "dfew", folds),
        Experiment("table3-ferv39k", "pe-clip-table3", ("ferv39k",), "ferv39k"),
        Experiment("table4", "pe-clip-table4", dfew, "dfew", folds),
        *(
            Experiment(f"table{n}", f"pe-clip-table{n}", dfew, "dfew", contrast=TIME)
            for n in range(5, 11)
        ),
        Experiment("finecliper-table1", "finecliper-table1", fine, "dfew", folds),
        *(
            Experiment(name, name, fine, "dfew", contrast=CUES if name[-1] == "5" else None)
            for name in (*(f"finecliper-table{n}" for n in range(4, 10)), "finecliper-weights")
        ),
    ]
    # Tables 6 to 9 are of the adapters, above all of the TDA, which the order of frames asks for.
    of_time = {f"table{n}" for n in range(6, 10)}
    for one in found[:]:
        if one.name == "finecliper-table8":  # the demo has one backbone
            continue
        demo = "demo-order" if one.name in of_time else "demo"
        repeats = len(one.folds) or 3  # the demo has no folds
        recipe = (demo, *one.recipe[1:])
        found.append(
            replace(
                one,
                name=f"demo-{one.name}",
                recipe=recipe,
                folds=(),
                repeats=repeats,
                quick=(_QUICK, _LONGER) if one.recipe[1:] else (_QUICK,),
            )
        )
    noise = ("demo", "finecliper/noise")
    found.append(
        Experiment(
            "demo-finecliper-noise",
            "finecliper-noise",
            noise,
            "demo",
            (),
            3,
            CUES,
            (_QUICK, _LONGER),
        )
    )
    found += _of_peers(folds)
    return {one.name: one for one in found}


def _of_peers(folds: tuple[int, ...]) -> list[Experiment]:
    """The methods by themselves and under one protocol, and what they make of the frames' order."""
    demo = ("demo-order",)
    return [
        Experiment("peers-dfew", "peers", ("dfew",), "dfew", folds, baseline=OURS),
        Experiment("peers-ferv39k", "peers", ("ferv39k",), "ferv39k", (), 3, baseline=OURS),
        Experiment("peers-mafw", "peers", ("mafw",), "mafw", folds, baseline=OURS),
        Experiment(
            "demo-peers", "demo-peers", demo, "demo-order", (), 3, ORDER, (_QUICK,), baseline=OURS
        ),
    ]


EXPERIMENTS: Mapping[str, Experiment] = _experiments()


@dataclass(frozen=True)
class Cell:
    """One training run of an experiment, which equal rows share.

    Args:
        config: all of it.
    """

    config: RunConfig

    @property
    def name(self) -> str:
        """Names the run folder; the same for all configurations that give the same results.

        Options at their defaults are left out, so that a new option renames nothing.
        """
        changed = {d.key: d.after for d in differences(RunConfig(), self.config)}
        kept = {key: value for key, value in changed.items() if key not in FREE_TO_CHANGE}
        digest = hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()[:10]
        data, seed = self.config.data, self.config.train.seed
        return f"{data.dataset}-fold{data.fold}-seed{seed}-{digest}"


@dataclass(frozen=True)
class PlannedRow:
    """A row of a table with the runs whose mean it becomes.

    Args:
        published: as printed.
        cells: one for each fold and seed.
    """

    published: Row
    cells: tuple[Cell, ...]

    @property
    def config(self) -> RunConfig:
        """Of the first cell; the others differ only in fold and seed."""
        return self.cells[0].config


@dataclass(frozen=True)
class Plan:
    """An experiment with all its runs."""

    experiment: Experiment
    rows: tuple[PlannedRow, ...]


Layers = Sequence[tuple[str, Mapping[str, Any]]]


def find(name: str) -> Experiment:
    """The experiment of that name, or the one that a YAML file describes; or InputError.

    A file has a title, the ``recipe`` that its rows go over, ``columns`` and ``rows`` as the
    packaged tables have, and perhaps ``folds`` and a number of ``seeds``. docs/experiments.md has
    an example.
    """
    if name in EXPERIMENTS:
        return EXPERIMENTS[name]
    path = Path(name)
    if not path.is_file():
        raise InputError(
            f"experiment {name!r}: expected a YAML file, or one of {', '.join(EXPERIMENTS)}"
            f"{hint(name, EXPERIMENTS)}"
        )
    read_table(name)  # which checks it
    content = read_yaml(path)
    folds, seeds = content.get("folds", []), content.get("seeds", 1)
    if not isinstance(seeds, int) or seeds < 1:
        raise InputError(f"{path}: seeds: expected how many, at least 1, got {seeds!r}")
    recipe = tuple(map(str, content["recipe"]))
    return Experiment(path.stem, name, recipe, "", tuple(folds), seeds)


def plan(
    experiment: Experiment,
    resolve: Callable[[Layers], RunConfig],
    over: Layers = (),
    folds: Sequence[int] = (),
    seeds: Sequence[int] = (),
) -> Plan:
    """All runs of an experiment.

    Args:
        experiment: what is run.
        resolve: makes a configuration of layers of options.
        over: layers over the recipe and under the row's own.
        folds: test folds in place of the experiment's.
        seeds: in place of the experiment's.
    """
    recipe = config_layers(experiment.recipe)
    recipe += [(experiment.name, options) for options in experiment.quick]
    rows = []
    for row in experiment.rows():
        names = _of_row(row, experiment.dataset)
        own = config_layers([*experiment.recipe, *names])[len(experiment.recipe) :]
        config = resolve([*recipe, *over, *own]).without_unread
        first = config.train.seed
        cells = [
            Cell(replace(
                config, data=replace(config.data, fold=fold), train=replace(config.train, seed=seed)
            ))
            for fold in folds or experiment.folds or (config.data.fold,)
            for seed in seeds or range(first, first + experiment.repeats)
        ]  # fmt: skip
        rows.append(PlannedRow(row, tuple(cells)))
    return Plan(experiment, tuple(rows))


def _of_row(row: Row, dataset: str) -> list[str]:
    """A row's configuration, and what goes over it for the dataset, if there is such a one.

    As dfer_clip/mafw says that it goes over dfer_clip/published.
    """
    if not row.config:
        return []
    own = f"{row.config.rpartition('/')[0]}/{dataset}"
    if own in config_names() and read_yaml(config_path(own)).get("over") == row.config:
        return [row.config, own]
    return [row.config]
