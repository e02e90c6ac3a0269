"""Every row of FineCLIPER's tables: its configuration, its parameters, its training."""

from __future__ import annotations

import functools
from dataclasses import asdict, replace

import pytest
import torch
import torch.nn.functional as F

from peclip_fast import create_model
from peclip_fast.config.layers import config_layers, config_names, config_path, read_yaml
from peclip_fast.config.parser import resolve
from peclip_fast.config.run import differences
from peclip_fast.data.datasets.dfew import CLASSES
from peclip_fast.experiment.published import read_table, table_names
from peclip_fast.models.description import describe_model

TABLES = [read_table(name) for name in table_names() if name.startswith("finecliper-")]
ROWS = {row.config: row for table in TABLES for row in table.rows if row.config}
WITH_FILES = ("--data.cues=cues", "--data.descriptions=fine.jsonl")


@functools.cache
def configure(name):
    layers = config_layers(["dfew", "finecliper/video", name])
    return resolve(layers, WITH_FILES)


# Rows that are the same model under several names train once.
DISTINCT = {configure(name).model: name for name in reversed(ROWS)}


def of_method(row):
    return row.config is not None and row.config.startswith("finecliper-table1/")


def test_rows_and_configurations_are_the_same():
    assert ROWS.keys() == {name for name in config_names() if name.startswith("finecliper-")}
    assert len(DISTINCT) == 22


@pytest.mark.parametrize("name", ROWS)
def test_a_row_holds_options_of_the_model_only(name):
    assert read_yaml(config_path(name)).keys() == {"over", "model"}


@pytest.mark.parametrize("name", [name for name, row in ROWS.items() if row.parameters])
def test_parameters_are_the_published_ones(name):
    found = describe_model(configure(name).model)["trained"]["total"]
    assert round(found / 1e6) == ROWS[name].parameters


def test_equal_scores_are_of_one_configuration():
    """The paper has the same numbers of a method in all its tables."""
    methods = [row for row in read_table("finecliper-table1").rows if of_method(row)]
    for method in methods:
        same = [n for n, row in ROWS.items() if row.scores("dfew") == method.scores("dfew")]
        assert len(same) > (method.name != "FineCLIPER†")
        for name in same:
            assert differences(configure(method.config), configure(name)) == []


def test_the_columns_of_tables_5_and_6_are_the_switches():
    for table in (5, 6):
        for row in read_table(f"finecliper-table{table}").rows:
            switches = asdict(configure(row.config).model)
            names = {
                5: {"parsing": "parsing", "landmarks": "landmarks"},
                6: {part: f"{part}_adapter" for part in ("positive", "negative", "video")},
            }[table]
            for column, switch in names.items():
                assert switches[switch] == row.cells[column]


@pytest.mark.parametrize("name", DISTINCT.values())
def test_every_row_trains(name, tiny_backbone):
    """Both steps move every trained tensor, and no frozen one gets a gradient."""
    config = replace(configure(name).model, backbone=tiny_backbone, pretrained=None)
    torch.manual_seed(0)
    model = create_model(classes=CLASSES, **vars(config))
    texts = ["the brows lower", "the lips press together"]
    given = {
        name: model.tokenize(texts) if name == "descriptions" else torch.rand(2, 3, 3, 32, 32)
        for name in model.inputs
    }
    optimizer = torch.optim.SGD(model.trained_parameters().values(), lr=1e-2)
    before = {n: p.detach().clone() for n, p in model.trained_parameters().items()}
    for _ in range(2):  # up-projections start at zero: what is before them moves second
        loss = F.cross_entropy(model(**given), torch.tensor([0, 4]))
        assert loss.isfinite()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    still = [n for n, p in model.trained_parameters().items() if not p.grad.any()]
    assert still == [], "these trained tensors got no gradient"
    assert any(not torch.equal(p, before[n]) for n, p in model.trained_parameters().items())
    assert all(p.grad is None for p in model.backbone.parameters())
