"""Experiments that a file of the user's describes."""

from __future__ import annotations

import pytest
import yaml

from peclip_fast.config.parser import resolve
from peclip_fast.errors import InputError
from peclip_fast.experiment.plan import find, plan
from peclip_fast.experiment.report import ExperimentReport

MINE = {
    "title": "Mine",
    "recipe": ["demo"],
    "seeds": 2,
    "columns": {"name": "Method", "config": "Configuration"},
    "rows": [["PE-CLIP", None], ["without", "row.yaml"], ["packaged", "table9/r8"]],
}


@pytest.fixture
def mine(tmp_path):
    (tmp_path / "row.yaml").write_text("model: {temporal: false}\n")

    def write(**changed: object) -> str:
        path = tmp_path / "mine.yaml"
        content = {key: value for key, value in (MINE | changed).items() if value != "left out"}
        path.write_text(yaml.safe_dump(content, sort_keys=False))
        return str(path)

    return write


def test_rows_go_over_the_recipe(mine):
    made = plan(find(mine()), resolve)
    assert made.experiment.name == "mine"
    assert [row.published.name for row in made.rows] == ["PE-CLIP", "without", "packaged"]
    assert [row.config.model.temporal for row in made.rows] == [True, False, True]
    assert [row.config.model.reduction for row in made.rows] == [4, 4, 8]
    assert {row.config.train.epochs for row in made.rows} == {12}  # as the recipe has it
    assert [c.config.train.seed for c in made.rows[0].cells] == [42, 43]


def test_folds(mine):
    made = plan(find(mine(folds=[2, 3], seeds=1)), resolve)
    assert [c.config.data.fold for c in made.rows[1].cells] == [2, 3]


def test_the_report_has_no_published_columns(mine, tmp_path):
    ExperimentReport(plan(find(mine()), resolve), {}, {}).write(tmp_path / "out")
    told = (tmp_path / "out" / "report.md").read_text()
    assert told.startswith("# mine: Mine")
    assert "| without |" in told
    assert "published" not in told.partition("## Runs")[0].partition("| Setting")[2]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"rows": "left out"}, r"mine.yaml: rows: expected a list with the cells of each row"),
        ({"recipe": "demo"}, r"mine.yaml: recipe: expected the configurations that every row"),
        ({"title": 3}, r"mine.yaml: title: expected a sentence"),
        ({"columns": {"name": "x"}}, r"mine.yaml: columns: expected name and config among them"),
        ({"rows": [["a", None], ["b"]]}, r"mine.yaml: row 2: expected 2 cells, one a column"),
        ({"seeds": 0}, r"mine.yaml: seeds: expected how many, at least 1, got 0"),
    ],
)
def test_files_that_describe_none(mine, changed, message):
    with pytest.raises(InputError, match=message):
        find(mine(**changed))


def test_unknown_names():
    with pytest.raises(InputError, match=r"experiment 'table66': expected a YAML file, or one of "):
        find("table66")
