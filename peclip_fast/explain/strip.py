"""The strip: a column for each frame, rollouts above, the TDA's scale and probabilities below."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from peclip_fast.explain.scene import Scene, shortened
from peclip_fast.plots.palette import BLUE, ORANGE, look

_DPI = 110
_STRIP = 15.0  # inches that the frames would like to have together, and the limits of one
_LEAST, _MOST = 0.45, 1.5
_LEFT, _RIGHT, _TITLE, _LINE, _BOTTOM = 1.6, 2.8, 0.6, 0.16, 0.55
_CURVE, _GAP, _PAD = 1.5, 0.3, 0.05


def strip_png(scene: Scene) -> bytes:
    """A PNG of the whole explanation."""
    count, rows = len(scene.numbers), scene.rows()
    cell = min(max(_STRIP / count, _LEAST), _MOST)
    width, scaled = cell * count, scene.explanation.token_scales is not None
    blocks = [1, *(sum(row.kind == kind for row in rows) for kind in {r.kind: 0 for r in rows})]
    height = sum(n * (cell + _PAD) + _GAP for n in blocks) + (1 + scaled) * (_CURVE + _GAP)
    said = _said(scene, width + _RIGHT)
    top = _TITLE + _LINE * len(said)
    figure = Figure((_LEFT + width + _RIGHT, top + height + _BOTTOM), dpi=_DPI)
    page = _Page(figure, width, top)
    _title(page, scene, said)
    _row(page.next(cell, _PAD), scene.inputs(), "input")
    kind = ""
    for row in rows:
        if row.kind != kind:
            kind = row.kind
            page.skip(_GAP)
            page.label(kind, blocks[1] * (cell + _PAD))
        _row(page.next(cell, _PAD), row.images, row.name)
    if scaled:
        page.skip(_GAP)
        _scales(page.next(_CURVE, 0), scene)
    page.skip(_GAP)
    _probabilities(page.next(_CURVE, 0), scene)
    png = io.BytesIO()
    FigureCanvasAgg(figure).print_png(png)
    return png.getvalue()


class _Page:
    """Axes one below another, all as wide as the frames, so that a column is one moment."""

    def __init__(self, figure: Figure, width: float, top: float) -> None:
        self.figure = figure
        self.width = width
        self.size = figure.get_size_inches()
        self.y = self.size[1] - top

    def next(self, height: float, pad: float) -> Axes:
        """Axes of that height, and some room below."""
        self.y -= height
        (w, h), y = self.size, self.y
        self.y -= pad
        return self.figure.add_axes((_LEFT / w, y / h, self.width / w, height / h))

    def skip(self, height: float) -> None:
        """Leave room."""
        self.y -= height

    def label(self, text: str, height: float) -> None:
        """Upright at the left, for the rows of the next ``height`` inches."""
        x, y = 0.4 / self.size[0], (self.y - height / 2) / self.size[1]
        lines = textwrap.fill(text, max(12, int(height * 9)))
        self.figure.text(x, y, lines, rotation=90, ha="center", va="center", fontsize=10)


def _said(scene: Scene, width: float) -> list[str]:
    """What is to be known of the pictures, in lines of that many inches."""
    text = (
        f"{scene.note}. Brighter is more, each row on its own scale. Gradients are those of the "
        "predicted class. Rows above the full model leave out parts that were trained together "
        "with the others."
    )
    return textwrap.wrap(text, int(width * 13.5))


def _title(page: _Page, scene: Scene, said: Sequence[str]) -> None:
    x, height = _LEFT / page.size[0], page.size[1]
    title = f"{shortened(scene.clip, 30)}: predicted {scene.answer}"
    page.figure.text(x, 1 - 0.33 / height, title, fontsize=14, fontweight="bold")
    look: dict[str, Any] = {"fontsize": 9, "color": "0.35", "va": "top"}
    page.figure.text(x, 1 - 0.45 / height, "\n".join(said), **look)


def _row(axes: Axes, images: np.ndarray, name: str) -> None:
    count = len(images)
    # A white line between the frames, and each of them exactly one unit wide.
    images = images.copy()
    images[1:, :, :2] = images[:-1, :, -2:] = 255
    axes.imshow(np.concatenate(images, 1), extent=(-0.5, count - 0.5, 0, 1), aspect="auto")
    axes.set_axis_off()
    axes.text(-0.01, 0.5, name, transform=axes.transAxes, ha="right", va="center", fontsize=10)


def _plain(axes: Axes, count: int) -> None:
    axes.set_xlim(-0.5, count - 0.5)
    axes.set_xticks(range(count), [])
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="#DDDDDD", linewidth=0.6)
    axes.set_axisbelow(True)


def _legend(axes: Axes) -> None:
    axes.legend(loc="center left", bbox_to_anchor=(1.005, 0.5), frameon=False, fontsize=9)


def _scales(axes: Axes, scene: Scene) -> None:
    cls, tokens = scene.explanation.class_scales, scene.explanation.token_scales
    assert tokens is not None
    x = range(len(scene.numbers))
    _plain(axes, len(x))
    if cls is not None:
        axes.fill_between(
            x, cls.min(0).values, cls.max(0).values, color=BLUE, alpha=0.15, lw=0,
            label="class token, range of blocks",
        )  # fmt: skip
        axes.plot(x, cls.mean(0), "o-", color=BLUE, ms=4, label="class token, mean of blocks")
    axes.plot(x, tokens.mean(0), "s--", color=ORANGE, ms=4, label="all tokens, mean of blocks")
    axes.set_ylim(bottom=0)
    axes.set_ylabel("TDA scale s", fontsize=10)
    _legend(axes)


def _probabilities(axes: Axes, scene: Scene) -> None:
    probabilities = scene.explanation.probabilities
    x = range(len(scene.numbers))
    _plain(axes, len(x))
    for number in probabilities[-1].argsort(descending=True).tolist():
        colour, marker = look(number)
        first = number == scene.explanation.predicted
        axes.plot(
            x, probabilities[:, number], marker=marker, color=colour, ms=5,
            lw=2.2 if first else 1.1, zorder=3 if first else 2, label=scene.classes[number],
        )  # fmt: skip
    axes.set_ylim(-0.03, 1.03)
    axes.set_yticks([0, 0.5, 1], ["0", "50 %", "100 %"])
    axes.set_ylabel("probability of the\nclip up to here", fontsize=10)
    axes.set_xticks(x, [str(number) for number in scene.numbers])
    axes.set_xlabel(
        f"number of the frame, of 0 to {scene.length - 1}; "
        f"{len(scene.numbers)} are taken, as in testing"
    )
    _legend(axes)
