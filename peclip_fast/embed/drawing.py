"""The maps side by side."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from torch import Tensor

from peclip_fast.palette import look


class Map(NamedTuple):
    """One panel."""

    coordinates: Tensor
    """(N, 2)."""
    silhouette: float | None

    @property
    def score(self) -> str:
        """The silhouette for people."""
        return "not defined" if self.silhouette is None else f"{self.silhouette:.3f}"


def maps_png(maps: Mapping[str, Map], labels: Tensor, classes: Sequence[str], title: str) -> bytes:
    """A PNG with a panel for each map by its name; a colour and a marker for each true class.

    Args:
        maps: of the same N clips.
        labels: (N,), of the clips.
        classes: names.
        title: above all.
    """
    figure = Figure((5.0 * len(maps), 6.2), dpi=130, layout="constrained")
    panels = figure.subplots(1, len(maps), squeeze=False)[0]
    size = max(6.0, min(36.0, 9000 / len(labels)))
    for axes, (name, one) in zip(panels, maps.items(), strict=True):
        for number in labels.unique().tolist():
            colour, marker = look(number)
            x, y = one.coordinates[labels == number].T
            axes.scatter(
                x, y, s=size, color=colour, marker=marker, lw=0.4, edgecolors="white",
                label=f"{classes[number]} ({len(x)})",
            )  # fmt: skip
        axes.set_title(f"{name}\nsilhouette of the features {one.score}", fontsize=11)
        axes.set_xticks([])
        axes.set_yticks([])
        axes.set_aspect("equal", "datalim")
        for spine in axes.spines.values():
            spine.set_color("0.7")
    handles, names = panels[0].get_legend_handles_labels()
    columns = min(4, len(names))
    figure.legend(
        handles, names, loc="outside lower center", ncols=columns, frameon=False, markerscale=1.3
    )
    figure.suptitle(title, fontsize=11)
    png = io.BytesIO()
    FigureCanvasAgg(figure).print_png(png)
    return png.getvalue()
