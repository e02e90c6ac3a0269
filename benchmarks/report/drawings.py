"""Each picture as a figure, from results, in Okabe and Ito's colours, which all eyes tell apart."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, NullLocator

from benchmarks.report.cells import distinct, rounded
from benchmarks.report.results_files import Results
from benchmarks.report.tables import OURS

STYLE: dict[str, Any] = {
    "figure.dpi": 150, "savefig.dpi": 150, "font.size": 10, "axes.titlesize": 10,
    "axes.spines.top": False, "axes.spines.right": False, "axes.axisbelow": True,
    "grid.color": "#DDDDDD", "grid.linewidth": 0.6, "legend.frameon": False,
}  # fmt: skip
WIDTH = 8.0  # inches
BLACK, ORANGE, SKY, GREEN, BLUE, RED, PURPLE = (
    "#000000", "#E69F00", "#56B4E9", "#009E73", "#0072B2", "#D55E00", "#CC79A7",
)  # fmt: skip
COLOURS = {
    "reference": "#777777", "plain PyTorch": SKY, "eager": SKY, "torch.compile": GREEN,
    "nn.GRU": ORANGE, OURS: RED, "cpu": RED, "cuda": RED, "triton": PURPLE,
}  # fmt: skip


def _colour(name: str, names: Sequence[str]) -> str:
    others = [other for other in names if other not in COLOURS]
    return COLOURS.get(name) or (BLUE, BLACK, PURPLE)[others.index(name) % 3]


def _figure(
    results: Results, title: str, rows: int, columns: int, height: float, **shared: Any
) -> tuple[Figure, Any]:
    """Panels, and a title with the device and the date."""
    figure = Figure((WIDTH, height), layout="constrained")
    content = results.content
    cores = "" if content.get("driver") else f", {content['cores']} cores"
    figure.suptitle(f"{title}\n{results.device}{cores}, {content['date']}", fontsize=11)
    return figure, figure.subplots(rows, columns, squeeze=False, **shared)


def speeds(sources: Sequence[Results]) -> Figure:
    """Bars: clips a second by program; a column for each kind of work, a line for each size."""
    [results] = sources
    rows = [row for row in results.rows if not {"bytes", "not_run"} & row.keys()]
    whats, sizes = distinct(rows, "what"), distinct(rows, "clips")
    title = "Speed of the whole model: more is better"
    figure, panels = _figure(results, title, len(sizes), len(whats), 0.6 + 2.6 * len(sizes))
    for line, clips in zip(panels, sizes, strict=True):
        for axes, what in zip(line, whats, strict=True):
            shown = [row for row in rows if (row["what"], row["clips"]) == (what, clips)]
            names = [row["program"] for row in shown]
            values = [row["clips_per_s"] for row in shown]
            ticks = [f"{row['program']} {row['dtype']}".replace(" ", "\n") for row in shown]
            bars = axes.bar(ticks, values, color=[_colour(n, names) for n in names], width=0.7)
            axes.bar_label(bars, [rounded(value) for value in values], padding=2)
            axes.set_title(f"{what}, {clips} clips at once")
            axes.tick_params(axis="x", labelsize=8, length=0)
            axes.margins(y=0.12)
            axes.grid(axis="y")
        line[0].set_ylabel("clips/s")
    return figure


AXES = {"frames": "frames of a clip", "clips": "clips at once", "gflop": "GFLOP, by backbone"}


def scaling(sources: Sequence[Results]) -> Figure:
    """Time over what is varied, both axes logarithmic: an exponent is the slope of its line."""
    [results] = sources
    exponents = {(e["what"], e["varied"], e["program"]): e for e in results.content["exponents"]}
    whats, varied, programs = (distinct(results.rows, k) for k in ("what", "varied", "program"))
    title = "Time of one run; beside each program the exponent of its growth"
    figure, panels = _figure(
        results, title, len(whats), len(varied), 0.6 + 2.6 * len(whats), sharey="row"
    )
    for line, what in zip(panels, whats, strict=True):
        for axes, name in zip(line, varied, strict=True):
            size = "gflop" if name == "backbone" else name
            rows = [r for r in results.rows if (r["what"], r["varied"]) == (what, name)]
            for program in distinct(rows, "program"):
                slope = exponents.get((what, name, program))
                label = program + (f": {slope['exponent']:.2f}" if slope else "")
                points = [(r[size], r["median_ms"]) for r in rows if r["program"] == program]
                look = {"color": _colour(program, programs), "lw": 2 if program == OURS else 1.3}
                axes.plot(*zip(*sorted(points), strict=True), "o-", label=label, ms=4, **look)
            _log_axes(axes)
            measured = sorted({row[size] for row in rows})
            axes.set_xticks(measured, [f"{value:.0f}" for value in measured])
            axes.set(title=what, xlabel=AXES[size])
            axes.legend(fontsize=8)
        line[0].set_ylabel("ms")
    return figure


def _log_axes(axes: Axes) -> None:
    """Both logarithmic, with plain numbers: 10, 20, 50, 100."""
    axes.set(xscale="log", yscale="log")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.set_major_formatter(lambda value, _: f"{value:g}")
        axis.set_minor_locator(NullLocator())
    axes.grid()


def loss_curves(sources: Sequence[Results]) -> Figure:
    """A thin line for each seed, a thick one for the mean of a program's seeds."""
    [results] = sources
    figure, panels = _figure(results, "Training loss, running mean of an epoch", 1, 1, 3.6)
    axes, rows = panels[0][0], results.rows
    programs = distinct(rows, "program")
    for program in programs:
        colour = _colour(program, programs)
        losses: dict[int, dict[int, float]] = {}
        for row in rows:
            if row["program"] == program:
                losses.setdefault(row["seed"], {})[row["step"]] = row["loss"]
        for one in losses.values():
            axes.plot(list(one), list(one.values()), color=colour, lw=0.6, alpha=0.5)
        steps = sorted(set.intersection(*(set(one) for one in losses.values())))
        mean = [np.mean([one[step] for one in losses.values()]) for step in steps]
        label = f"{program}, mean of {len(losses)} seeds"
        dashes = "--" if program == OURS else "-"  # where they meet, both are seen
        axes.plot(steps, mean, dashes, color=colour, lw=2, label=label)
    axes.set(xlabel="training step", ylabel="loss (nats)", ylim=(0, None))
    axes.grid()
    axes.legend()
    return figure


MARKERS = ("o", "s", "^")  # of an operator
GREY = "#555555"


def roofline(sources: Sequence[Results]) -> Figure:
    """GFLOP/s over FLOP a byte, a panel for each dtype, under what the device was measured to do.

    A byte counts that must move: an operand read once, a result written once.
    """
    rows = [row for one in sources for row in one.rows if "flops" in row]
    dtypes, contenders = distinct(rows, "dtype"), distinct(rows, "contender")
    directions, sizes = distinct(rows, "direction"), sorted(distinct(rows, "hidden"))
    title = "The operators below the roofs of the device"
    figure, panels = _figure(
        sources[0], title, 1, len(dtypes), 4.8, sharex=True, sharey=True
    )  # fmt: skip
    for axes, dtype in zip(panels[0], dtypes, strict=True):
        _log_axes(axes)
        copied = max(one.content["copy_bytes_per_s"] for one in sources) / 1e9
        matrix = max(one.content["matrix_flops_per_s"][dtype] for one in sources) / 1e9
        for one, marker in zip(sources, MARKERS, strict=False):
            for row in (row for row in one.rows if "flops" in row and row["dtype"] == dtype):
                colour = _colour(row["contender"], contenders)
                axes.plot(
                    row["flops"] / row["floor_bytes"], 1e-6 * row["flops"] / row["median_ms"],
                    marker, ms=_size(sizes, row["hidden"]), color=colour, mew=1.2, alpha=0.85,
                    mfc=colour if row["direction"] == directions[0] else "white",
                )  # fmt: skip
        most = max(row["flops"] / row["floor_bytes"] for row in rows)
        ridge = matrix / copied
        x = (ridge / 4, ridge, max(2 * ridge, 1.5 * most))
        axes.plot(x, (matrix / 4, matrix, matrix), color=BLACK, lw=1.2)
        axes.set(title=dtype, xlabel="FLOP a byte that must move")
        axes.annotate(
            f"{matrix:.3g} GFLOP/s in a matrix product\n{copied:.3g} GB/s in a copy",
            (x[2], matrix), (0, 4), textcoords="offset points", ha="right", fontsize=8,
        )  # fmt: skip
        axes.margins(y=0.12)
    panels[0][0].set_ylabel("GFLOP/s")
    groups = [
        [_handle(name, color=_colour(name, contenders)) for name in contenders],
        [
            _handle(one.content["benchmark"], marker)
            for one, marker in zip(sources, MARKERS, strict=False)
        ],
        [_handle(way, mfc=fill) for way, fill in zip(directions, (GREY, "white"), strict=False)],
        [_handle(f"h = {size}", ms=_size(sizes, size)) for size in sizes],
    ]
    longest = max(map(len, groups))  # a column for each group
    handles = [h for group in groups for h in group + [_handle("", "")] * (longest - len(group))]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(groups), fontsize=8)
    return figure


def _size(sizes: Sequence[int], hidden: int) -> float:
    return 4 + 2.5 * sizes.index(hidden)


def _handle(label: str, marker: str = "o", **look: Any) -> Line2D:
    return Line2D([], [], ls="", marker=marker, label=label, **({"color": GREY} | look))
