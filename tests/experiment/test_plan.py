"""The experiments: every row of every table, and runs that equal rows share."""

from __future__ import annotations

import functools
from dataclasses import replace

import pytest

from peclip_fast.config import RunConfig, make_parser, resolve
from peclip_fast.data.config import DataConfig
from peclip_fast.errors import InputError
from peclip_fast.experiment.plan import EXPERIMENTS, Cell, find, plan
from peclip_fast.experiment.published import read_table


@functools.cache
def planned(name, *argv, **options):
    return plan(
        find(name), lambda layers: resolve(make_parser("train", "", ""), argv, layers), **options
    )


def names(plans):
    return [c.name for one in plans for row in one.rows for c in row.cells]


def test_every_table_has_its_experiment_and_a_demo_of_it():
    tables = ["table3-dfew", "table3-ferv39k", *(f"table{n}" for n in range(4, 11))]
    assert list(EXPERIMENTS) == [*tables, *(f"demo-{name}" for name in tables)]


@pytest.mark.parametrize("number", range(5, 11))
def test_ablations_train_every_row_on_fold_1(number):
    one = planned(f"table{number}")
    table = read_table(f"pe-clip-table{number}")
    assert [row.published for row in one.rows] == list(table.rows)
    for row in one.rows:
        (cell,) = row.cells
        assert (cell.config.data.dataset, cell.config.data.fold) == ("dfew", 1)
        assert (cell.config.train.epochs, cell.config.train.seed) == (30, 42)
        assert cell.config.train.select == "last"


def test_tables_3_and_4_share_the_five_folds_of_the_whole_method():
    three, four = planned("table3-dfew"), planned("table4")
    (row,) = three.rows
    assert row.published.name == "PE-CLIP"
    assert [c.config.data.fold for c in row.cells] == [1, 2, 3, 4, 5]
    assert names([three]) == names([four])
    assert len(set(names([three]))) == 5
    (row,) = planned("table3-ferv39k").rows
    assert [(c.config.data.dataset, c.config.train.epochs) for c in row.cells] == [("ferv39k", 20)]


def test_equal_rows_share_a_run():
    plans = [planned(f"table{number}") for number in range(5, 11)]
    assert len(names(plans)) == 24
    assert len(set(names(plans))) == 18  # the whole method stands in six tables, one row in two
    fold = next(iter(names([planned("table3-dfew")])))
    assert fold in names(plans)


def test_the_demo_repeats_with_other_seeds():
    plans = [planned(f"demo-table{number}") for number in (6, 7, 8)]
    assert len(set(names(plans))) == 11 * 3
    for one in plans:
        for row in one.rows:
            assert [c.config.train.seed for c in row.cells] == [42, 43, 44]
            assert {c.config.data.dataset for c in row.cells} == {"demo-order"}
    assert {r.config.data.dataset for n in (5, 10) for r in planned(f"demo-table{n}").rows} == {
        "demo"
    }
    assert len(planned("demo-table3-dfew").rows[0].cells) == 5


def test_rows_that_walk_over_the_frames():
    without = {n: [r.published.name for r in planned(n).rows if not r.has_time]
               for n in ("demo-table6", "demo-table7", "demo-table8")}  # fmt: skip
    assert without == {
        "demo-table6": ["TA", "Text TA and ShA", "Without TDA"],
        "demo-table7": [],
        "demo-table8": ["None"],
    }


def test_folds_and_seeds_can_be_chosen():
    one = planned("table5", folds=(2, 4), seeds=(0, 1, 2))
    for row in one.rows:
        assert [(c.config.data.fold, c.config.train.seed) for c in row.cells] == [
            (f, s) for f in (2, 4) for s in (0, 1, 2)
        ]
    (cell,) = planned("table5", "--data.fold=3", "--train.seed=7").rows[0].cells
    assert (cell.config.data.fold, cell.config.train.seed) == (3, 7)
    seeds = [c.config.train.seed for c in planned("demo-table6", "--train.seed=7").rows[0].cells]
    assert seeds == [7, 8, 9]


def test_layers_and_options():
    over = [("mine.yaml", {"train": {"epochs": 9}, "model": {"temporal": False, "reduction": 4}})]
    rows = planned.__wrapped__("table6", "--train.batch_size=2", over=over).rows
    assert {row.config.train.epochs for row in rows} == {9}
    assert {row.config.train.batch_size for row in rows} == {2}
    assert {row.config.model.reduction for row in rows} == {4}
    assert [row.config.model.temporal for row in rows] == [
        row.published.cells["temporal"] for row in rows
    ]


def test_the_name_of_a_run_tells_results_apart_and_nothing_else():
    config = RunConfig()
    other_place = replace(
        config,
        data=replace(config.data, num_workers=3, root=None),
        train=replace(config.train, threads=7, device="cpu", checkpoint_every=5),
    )
    assert Cell(config).name == Cell(other_place).name
    changed = [
        replace(config, train=replace(config.train, seed=1)),
        replace(config, train=replace(config.train, epochs=31)),
        replace(config, data=DataConfig(fold=2)),
        replace(config, model=replace(config.model, temporal=False)),
        replace(config, model=replace(config.model, texts="class_names")),
    ]
    assert len({Cell(c).name for c in [config, *changed]}) == 6


def test_an_unknown_name_lists_the_others():
    with pytest.raises(InputError, match=r"experiment 'table6x': expected one of table3-dfew, "):
        find("table6x")
