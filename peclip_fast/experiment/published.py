"""The tables: what the papers published, numbers as printed there, and rows of our own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple

from peclip_fast.config.layers import read_yaml
from peclip_fast.errors import InputError

ROOM = Path(str(files("peclip_fast"))) / "experiment"
PUBLISHED, OURS = ROOM / "published", ROOM / "ours"
Cell = str | float | bool | None


class PublishedScores(NamedTuple):
    """Results on a dataset, in percent."""

    uar: float
    war: float


@dataclass(frozen=True)
class Row:
    """A line of a table.

    Args:
        cells: column -> value as printed; None where nothing is.
    """

    cells: Mapping[str, Cell]

    @property
    def name(self) -> str:
        """The method or setting."""
        return str(self.cells["name"])

    @property
    def config(self) -> str | None:
        """Name of the row's configuration, which goes over a dataset's recipe."""
        config = self.cells.get("config")
        return None if config is None else str(config)

    @property
    def parameters(self) -> float | None:
        """Millions of trained parameters, rounded as printed."""
        return self._number("parameters")

    def scores(self, dataset: str) -> PublishedScores | None:
        """Results on a dataset (dfew, ferv39k, mafw), where the row has them."""
        uar, war = (self._number(f"{dataset}.{metric}") for metric in PublishedScores._fields)
        return None if uar is None or war is None else PublishedScores(uar, war)

    @property
    def recalls(self) -> dict[str, float]:
        """Class -> recall in percent, in the table's order; empty where a table has none."""
        found = {key: self._number(key) for key in self.cells if key.startswith("recall.")}
        return {key.removeprefix("recall."): r for key, r in found.items() if r is not None}

    def _number(self, column: str) -> float | None:
        value = self.cells.get(column)
        return None if value is None else float(value)


@dataclass(frozen=True)
class Table:
    """A published table, or one of ours, which has no scores.

    Args:
        name: as read_table() takes it.
        title: what is compared.
        source: paper and number of the table; None for one of ours.
        protocol: which test splits the numbers are of, where the paper says so.
        folds: DFEW's test folds among them.
        notes: what a reader must know, such as where the printed numbers disagree.
        columns: key -> heading.
        rows: in the printed order.
    """

    name: str
    title: str
    source: str | None
    protocol: str | None
    folds: tuple[int, ...]
    notes: tuple[str, ...]
    columns: Mapping[str, str]
    rows: tuple[Row, ...]


def table_names() -> list[str]:
    """The published tables, by name."""
    return sorted(path.stem for path in PUBLISHED.glob("*.yaml"))


def read_table(name: str) -> Table:
    """A table, such as "pe-clip-table6", or a file of the user's; InputError where there is none.

    Configurations that a user's file names are looked for in its own folder first.
    """
    paths = {path.stem: path for folder in (PUBLISHED, OURS) for path in folder.glob("*.yaml")}
    if name in paths:
        return _table(name, read_yaml(paths[name]))
    path = Path(name)
    if not path.is_file():
        raise InputError(
            f"table {name!r}: not among the tables; expected one of {', '.join(sorted(paths))}"
        )
    content = read_yaml(path)
    _check_own(path, content)
    place = list(content["columns"]).index("config")
    for row in content["rows"]:
        if row[place] is not None and (path.parent / row[place]).is_file():
            row[place] = str(path.parent / row[place])
    return _table(name, content)


def _check_own(path: Path, content: Mapping[str, Any]) -> None:
    """Raise InputError unless a user's table has what an experiment needs."""
    for key, kind, what in (
        ("title", str, "a sentence"),
        ("recipe", list, "the configurations that every row goes over, such as [dfew]"),
        ("columns", dict, "name and config with their headings"),
        ("rows", list, "a list with the cells of each row"),
    ):
        if not isinstance(content.get(key), kind) or not content[key]:
            raise InputError(f"{path}: {key}: expected {what}")
    if not {"name", "config"} <= content["columns"].keys():
        raise InputError(f"{path}: columns: expected name and config among them")
    for number, row in enumerate(content["rows"], 1):
        if not isinstance(row, list) or len(row) != len(content["columns"]):
            raise InputError(
                f"{path}: row {number}: expected {len(content['columns'])} cells, one a column"
            )


def _table(name: str, content: Mapping[str, Any]) -> Table:
    columns = content["columns"]
    return Table(
        name=name,
        title=content["title"],
        source=content.get("source"),
        protocol=content.get("protocol"),
        folds=tuple(content.get("folds", ())),
        notes=tuple(content.get("notes", ())),
        columns=columns,
        rows=tuple(Row(dict(zip(columns, cells, strict=True))) for cells in content["rows"]),
    )
