"""The experiments: every row of every table, and runs that equal rows share."""

from __future__ import annotations

import functools
from dataclasses import replace

import pytest
import yaml
from helpers.models.every_method import NAMES

from peclip_fast.config import layers
from peclip_fast.config.data import DataConfig
from peclip_fast.config.layers import config_names
from peclip_fast.config.parser import resolve
from peclip_fast.config.run import RunConfig
from peclip_fast.errors import InputError
from peclip_fast.experiment import plan as planning
from peclip_fast.experiment.contrast import CUES, ORDER, TIME
from peclip_fast.experiment.plan import EXPERIMENTS, Cell, find, plan
from peclip_fast.experiment.published import read_table


@functools.cache
def planned(name, *argv, **options):
    return plan(find(name), lambda layers: resolve(layers, argv), **options)


def names(plans):
    return [c.name for one in plans for row in one.rows for c in row.cells]


def test_every_table_has_its_experiment_and_a_demo_of_it():
    tables = ["table3-dfew", "table3-ferv39k", *(f"table{n}" for n in range(4, 11))]
    tables += [f"finecliper-table{n}" for n in (1, *range(4, 10))] + ["finecliper-weights"]
    demos = [f"demo-{name}" for name in tables if name != "finecliper-table8"]
    of_peers = [f"peers-{name}" for name in ("dfew", "ferv39k", "mafw")] + ["demo-peers"]
    assert list(EXPERIMENTS) == [*tables, *demos, "demo-finecliper-noise", *of_peers]


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
    without = {
        name: [r.published.name for r in planned(name).rows if not TIME.among(r.config.model)]
        for name in ("demo-table6", "demo-table7", "demo-table8", "demo-finecliper-table4")
    }
    assert without == {
        "demo-table6": ["TA", "Text TA and ShA", "Without TDA"],
        "demo-table7": [],
        "demo-table8": ["None"],
        "demo-finecliper-table4": ["Middle", "High"],
    }


FINE = [f"finecliper-table{n}" for n in (1, *range(4, 10))] + ["finecliper-weights"]
WITH_FILES = ("--data.cues=cues", "--data.descriptions=fine.jsonl")


@pytest.mark.parametrize("name", FINE)
def test_finecliper_trains_all_rows_that_it_published(name):
    one = planned(name, *WITH_FILES)
    rows = [row for row in read_table(name).rows if row.name.startswith("FineCLIPER")]
    rows = rows or list(read_table(name).rows)
    assert [row.published for row in one.rows] == rows
    for row in one.rows:
        config = row.config
        assert [c.config.data.fold for c in row.cells] == (
            [1, 2, 3, 4, 5] if name == "finecliper-table1" else [1]
        )
        assert (config.model.method, config.data.dataset) == ("finecliper", "dfew")
        assert (config.train.optimizer, config.train.epochs) == ("sgd", 30)
        assert (config.data.mix.mixup, config.data.mix.fmix) == (0, 0)


@pytest.mark.slow
def test_finecliper_shares_its_runs():
    plans = [planned(name, *WITH_FILES, folds=(1,)) for name in FINE]
    assert len(names(plans)) == 31
    assert len(set(names(plans))) == 22  # video stands in 6 tables, cues in 2, all in 4


def test_files_that_a_row_does_not_read_are_not_part_of_its_run():
    one, other = (planned("finecliper-table5", f"--data.cues={folder}") for folder in "ab")
    same = [a == b for a, b in zip(names([one]), names([other]), strict=True)]
    assert same == [not row.config.reads_cues for row in one.rows]
    assert set(same) == {True, False}
    assert names([planned("table6")]) == names([planned("table6", *WITH_FILES)])


def test_finecliper_on_the_demo_needs_no_files():
    for name in FINE:
        if name != "finecliper-table8":
            for row in planned(f"demo-{name}").rows:
                assert len(row.cells) == (5 if name == "finecliper-table1" else 3)
                assert (row.config.data.dataset, row.config.model.backbone) == ("demo", "demo")
                assert (row.config.train.epochs, row.config.train.warmup_epochs) == (12, 1)


def test_noise_is_on_the_frames_of_all_its_rows():
    rows = planned("demo-finecliper-noise").rows
    assert [CUES.among(row.config.model) for row in rows] == [False, True]
    assert {row.config.data.noise for row in rows} == {0.5}
    assert [len(row.cells) for row in rows] == [3, 3]
    branches = [row.config.model for row in rows]
    assert [(b.frames, b.parsing, b.landmarks) for b in branches] == [
        (True, False, False), (True, True, True)
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "dataset", "folds", "seeds"),
    [
        ("peers-dfew", "dfew", 5, 1),
        ("peers-ferv39k", "ferv39k", 1, 3),
        ("peers-mafw", "mafw", 5, 1),
    ],
)
def test_peers_differ_in_the_method_and_its_rates_only(name, dataset, folds, seeds):
    """Of the data nothing, of the model what the method is, of the training its own recipe."""
    one = planned(name)
    common = [row for row in one.rows if row.published.config.endswith("/protocol")]
    first = common[0].config
    assert common[0].published.name == one.experiment.baseline
    assert first.model.method == "pe_clip"
    assert len({row.config.model.method for row in common}) == len(common)
    for row in common:
        config = row.config
        assert len(row.cells) == folds * seeds
        assert config.data == replace(first.data, fold=config.data.fold)
        assert (config.data.dataset, config.data.frames) == (dataset, 16)
        assert (config.data.mix.mixup, config.data.mix.fmix) == (0, 0)
        assert config.model.backbone == "ViT-B-16-quickgelu"
        assert config.train.select == "last"
        assert config.train.epochs == first.train.epochs
        assert config.train.seed == first.train.seed
        assert getattr(config.model, "head", "clip") == "clip"


def test_peers_on_the_demo():
    rows = planned("demo-peers").rows
    assert [r.published.name for r in rows if not ORDER.among(r.config.model)] == [
        "CLIP-LoRA", "Zero-shot CLIP", "Linear probe", "Full fine-tuning",
    ]  # fmt: skip
    for row in rows:
        assert len(row.cells) == 3
        assert row.config.data == rows[0].config.data
        assert (row.config.data.dataset, row.config.model.backbone) == ("demo-order", "demo")


def test_what_a_method_has_for_a_dataset_goes_over_its_recipe(monkeypatch, tmp_path):
    """If it says that it does."""
    made = {
        "aim/dfew": {"over": "aim/protocol", "data": {"augment": {"brightness": 0.125}}},
        "st_adapter/dfew": {
            "over": "st_adapter/published",
            "data": {"augment": {"brightness": 0.1}},
        },
    }
    paths = {}
    for name, options in made.items():
        paths[name] = tmp_path / f"{name.partition('/')[0]}.yaml"
        paths[name].write_text(yaml.safe_dump(options))
    known = config_names()
    monkeypatch.setattr(layers, "config_names", lambda: [*known, *made])
    monkeypatch.setattr(planning, "config_names", lambda: [*known, *made])
    real = layers.config_path
    for module in (layers, planning):
        monkeypatch.setattr(module, "config_path", lambda name: paths.get(name) or real(name))
    rows = {r.published.name: r.config for r in planned.__wrapped__("peers-dfew").rows}
    assert rows["AIM"].data.augment.brightness == 0.125
    assert rows["ST-Adapter"].data == rows["PE-CLIP"].data


def test_every_method_has_its_rows():
    for name in ("peers-dfew", "demo-peers"):
        methods = [row.config.model.method for row in planned(name).rows]
        assert set(methods) == set(NAMES)
        assert len(methods) == len(set(methods)) + (name == "peers-dfew")


def test_dfer_clip_by_its_own_recipe():
    for name, brightness in (("peers-dfew", 0.5), ("peers-mafw", 0.0)):
        config = planned(name).rows[-1].config
        assert (config.model.method, config.train.select) == ("dfer_clip", "best")
        assert config.model.backbone == "ViT-B-32-quickgelu"
        assert config.data.augment.brightness == brightness


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
    with pytest.raises(
        InputError, match=r"experiment 'table6x': expected a YAML file, or one of table3-dfew, "
    ):
        find("table6x")
