"""The course of a training run as a picture: loss, scores on the test split, learning rates."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from peclip_fast.errors import InputError
from peclip_fast.plots.palette import BLUE, RED, look
from peclip_fast.text_files import read_table, shown

Row = Mapping[str, float | None]
Line = tuple[str, str, float]  # a column of metrics.csv, its name and factor

_RATE = "lr_"  # in front of a group's name: its learning rate
# Each panel with its title and what is in it, but for the learning rates.
_PANELS: dict[str, list[Line]] = {
    "mean training loss (nats)": [("loss", "loss", 1)],
    "test split (%)": [("test_uar", "UAR", 100), ("test_war", "WAR", 100)],
}
# Of the first and second line of a panel: where they meet, both are seen.
_LOOKS: tuple[dict[str, Any], ...] = (
    {"color": BLUE, "marker": "o", "ms": 5, "lw": 2.2},
    {"color": RED, "marker": "s", "ms": 3, "lw": 1.2, "ls": "--"},
)


def read_history(path: Path) -> list[Row]:
    """The rows of metrics.csv, a row for each epoch; None where it has no number.

    There are none where nothing is trained.

    Raises:
        InputError: there is no such file, or it is another.
    """
    if not path.exists():
        raise InputError(f"{path}: no such file; expected the history that train writes")
    rows = read_table(path, ("epoch", "loss"))
    return [{name: _number(source, v) for name, v in row.items()} for source, row in rows]


def _number(source: str, text: str) -> float | None:
    try:
        return float(text) if text else None
    except ValueError:
        raise InputError(f"{source}: expected a number, got {shown(text)}") from None


def curves_png(history: Sequence[Row], title: str) -> bytes:
    """A PNG of the columns that have numbers, over the epochs, of which there has to be one."""
    rates = [name for name in history[0] if name.startswith(_RATE)]
    rate_lines: list[Line] = [(name, name.removeprefix(_RATE), 1) for name in rates]
    panels = {
        name: [line for line in lines if any(row.get(line[0]) is not None for row in history)]
        for name, lines in {**_PANELS, "learning rate, at the epoch's end": rate_lines}.items()
    }
    shown = {name: lines for name, lines in panels.items() if lines}
    figure = Figure((0.6 + 4.2 * len(shown), 3.6), dpi=120, layout="constrained")
    grid = figure.subplots(1, len(shown), squeeze=False, sharex=True)
    for axes, (name, lines) in zip(grid[0], shown.items(), strict=True):
        for number, (column, label, factor) in enumerate(lines):
            values = [(row["epoch"], row.get(column)) for row in history]
            points = [(e, factor * value) for e, value in values if e and value is not None]
            axes.plot(*zip(*points, strict=True), label=label, **_look(number))
        axes.set(title=name, xlabel="epoch")
        axes.title.set_fontsize(10)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(color="#DDDDDD", linewidth=0.6)
        axes.set_axisbelow(True)
        if len(lines) > 1:
            axes.legend(fontsize=9)
    figure.suptitle(title, fontsize=10)
    png = io.BytesIO()
    FigureCanvasAgg(figure).print_png(png)
    return png.getvalue()


def _look(number: int) -> dict[str, Any]:
    """Of a line in a panel; with more than two lines, colours and markers tell them apart."""
    if number < len(_LOOKS):
        return _LOOKS[number]
    other = look(number + len(_LOOKS))  # the palette's first ones are like those two
    return {"color": other.colour, "marker": other.marker, "ms": 3, "lw": 1.2, "ls": ":"}
