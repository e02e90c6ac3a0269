"""The maps side by side."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from torch import Tensor

from peclip_fast.embed.embedding import Embedding, Map
from peclip_fast.plots.palette import look

LEGEND_COLUMN = 2.4  # inches for the name of a class
LEGEND_MARKER = 8.0  # points, however small the maps' own are


def maps_png(runs: Mapping[str, Embedding], classes: Sequence[str], title: str) -> bytes:
    """A PNG with a panel for each map; a colour and a marker for each true class.

    Args:
        runs: by their titles. One has its maps side by side; several have a column each, with a
            row for each map, and maps of the same names.
        classes: names, of all runs.
        title: above all.
    """
    first = next(iter(runs.values()))
    names = list(first.maps)
    single = len(runs) == 1
    width = 5.0 * len(names) if single else 3.6 * len(runs)
    height = 6.2 if single else 3.9 * len(names) + 1.1
    figure = Figure((width, height), dpi=130, layout="constrained")
    shape = (1, len(names)) if single else (len(names), len(runs))
    panels = figure.subplots(*shape, squeeze=False)
    for column, (run, found) in enumerate(runs.items()):
        for row, (name, one) in enumerate(found.maps.items()):
            axes = panels[0, row] if single else panels[row, column]
            _scatter(axes, one, found.labels)
            if single:
                axes.set_title(f"{name}\nsilhouette of the features {one.score}", fontsize=11)
                continue
            axes.set_xlabel(f"silhouette of the features {one.score}", fontsize=10)
            if row == 0:
                axes.set_title(run, fontsize=12)
            if column == 0:
                axes.set_ylabel(name, fontsize=12)
    handles = []
    for number in sorted({label for found in runs.values() for label in found.labels.tolist()}):
        colour, marker = look(number)
        count = f" ({int((first.labels == number).sum())})" if single else ""
        handles.append(
            Line2D(
                [], [], ls="", color=colour, marker=marker, ms=LEGEND_MARKER, mew=0.5, mec="white",
                label=f"{classes[number]}{count}",
            )
        )  # fmt: skip
    columns = min(len(handles), max(1, int(width // LEGEND_COLUMN)))
    figure.legend(handles=handles, loc="outside lower center", ncols=columns, frameon=False)
    figure.suptitle(title, fontsize=11)
    png = io.BytesIO()
    FigureCanvasAgg(figure).print_png(png)
    return png.getvalue()


def _scatter(axes: Axes, one: Map, labels: Tensor) -> None:
    size = max(6.0, min(36.0, 9000 / len(labels)))
    for number in labels.unique().tolist():
        colour, marker = look(number)
        x, y = one.coordinates[labels == number].T
        axes.scatter(x, y, s=size, color=colour, marker=marker, lw=0.4, edgecolors="white")
    axes.set_xticks([])
    axes.set_yticks([])
    axes.set_aspect("equal", "datalim")
    for spine in axes.spines.values():
        spine.set_color("0.7")
