"""The maps side by side."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from torch import Tensor

from peclip_fast.embed.embedding import Embedding, Map
from peclip_fast.palette import look

LEGEND_COLUMN = 2.4  # inches for the name of a class


def maps_png(runs: Mapping[str, Embedding], classes: Sequence[str], title: str) -> bytes:
    """A PNG with a panel for each map; a colour and a marker for each true class.

    Args:
        runs: by their titles. One has its maps side by side; several have a column each, with a
            row for each map, and maps of the same names.
        classes: names, of all runs.
        title: above all.
    """
    names = list(next(iter(runs.values())).maps)
    alone = len(runs) == 1
    width = 5.0 * len(names) if alone else 3.6 * len(runs)
    height = 6.2 if alone else 3.9 * len(names) + 1.1
    figure = Figure((width, height), dpi=130, layout="constrained")
    shape = (1, len(names)) if alone else (len(names), len(runs))
    panels = figure.subplots(*shape, squeeze=False)
    legend: dict[int, tuple[Any, str]] = {}
    for column, (run, found) in enumerate(runs.items()):
        for row, (name, one) in enumerate(found.maps.items()):
            axes = panels[0, row] if alone else panels[row, column]
            for number, points in _scatter(axes, one, found.labels).items():
                count = f" ({int((found.labels == number).sum())})" if alone else ""
                legend.setdefault(number, (points, f"{classes[number]}{count}"))
            if alone:
                axes.set_title(f"{name}\nsilhouette of the features {one.score}", fontsize=11)
                continue
            axes.set_xlabel(f"silhouette of the features {one.score}", fontsize=10)
            if row == 0:
                axes.set_title(run, fontsize=12)
            if column == 0:
                axes.set_ylabel(name, fontsize=12)
    columns = min(len(legend), max(1, int(width // LEGEND_COLUMN)))
    handles, labels_of = zip(*(legend[number] for number in sorted(legend)), strict=True)
    figure.legend(
        handles, labels_of, loc="outside lower center", ncols=columns, frameon=False,
        markerscale=1.3,
    )  # fmt: skip
    figure.suptitle(title, fontsize=11)
    png = io.BytesIO()
    FigureCanvasAgg(figure).print_png(png)
    return png.getvalue()


def _scatter(axes: Axes, one: Map, labels: Tensor) -> dict[int, Any]:
    """The points of a map, by the number of their class."""
    size = max(6.0, min(36.0, 9000 / len(labels)))
    points = {}
    for number in labels.unique().tolist():
        colour, marker = look(number)
        x, y = one.coordinates[labels == number].T
        points[number] = axes.scatter(
            x, y, s=size, color=colour, marker=marker, lw=0.4, edgecolors="white"
        )
    axes.set_xticks([])
    axes.set_yticks([])
    axes.set_aspect("equal", "datalim")
    for spine in axes.spines.values():
        spine.set_color("0.7")
    return points
