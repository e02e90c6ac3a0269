"""Means and their intervals as a picture."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from peclip_fast.engine.statistics import Estimate
from peclip_fast.plots.palette import BLUE, RED


@dataclass(frozen=True)
class Line:
    """A row of the picture.

    Args:
        name: of the setting.
        ours: metric -> mean of the runs that have ended; empty while there are none.
        published: metric -> as printed; empty where nothing is to be shown.
    """

    name: str
    ours: Mapping[str, Estimate]
    published: Mapping[str, float]


def intervals_png(lines: Sequence[Line], title: str) -> bytes:
    """A PNG: a panel for each metric; dots with intervals, and open diamonds of what was published.

    Args:
        lines: from top to bottom, at least one of them with a result.
        title: above all.
    """
    metrics = list(dict.fromkeys(metric for line in lines for metric in line.ours))
    figure = Figure((3.0 + 3.4 * len(metrics), 1.7 + 0.42 * len(lines)), 130, layout="constrained")
    panels = figure.subplots(1, len(metrics), sharey=True, squeeze=False)[0]
    places = range(len(lines))
    for axes, metric in zip(panels, metrics, strict=True):
        for place, line in zip(places, lines, strict=True):
            if metric in line.published:
                axes.plot(
                    line.published[metric], place, "D", mfc="none", mec=RED, mew=1.4, ms=7,
                    label="published",
                )  # fmt: skip
            if metric in line.ours:
                one = line.ours[metric]
                axes.errorbar(
                    one.mean, place, xerr=one.margin or 0, fmt="o", color=BLUE, ms=6, capsize=4,
                    label="ours, mean and 95 % interval",
                )  # fmt: skip
        axes.set(xlabel=f"{metric} (%)", ylim=(len(lines) - 0.5, -0.5))
        axes.grid(axis="x", color="#DDDDDD", linewidth=0.6)
        axes.set_axisbelow(True)
        axes.spines[["top", "right", "left"]].set_visible(False)
        axes.tick_params(left=False)
    panels[0].set_yticks(places, [line.name for line in lines])
    handles, names = panels[0].get_legend_handles_labels()
    shown = dict(zip(names, handles, strict=True))
    figure.legend(
        shown.values(), shown.keys(), loc="outside lower center", ncols=len(shown), frameon=False
    )
    figure.suptitle(title, fontsize=11)
    png = io.BytesIO()
    FigureCanvasAgg(figure).print_png(png)
    return png.getvalue()
