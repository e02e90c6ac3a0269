"""The confusion matrix as a picture."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure


def confusion_png(confusion: Sequence[Sequence[int]], classes: Sequence[str], title: str) -> bytes:
    """A PNG: shares of each true class as shades of one colour, with the numbers of clips.

    Rows are true classes, columns predictions. One colour from light to dark is read the same by
    colour-blind eyes and in grey.
    """
    counts = np.array(confusion)
    rows = counts.sum(1, keepdims=True)
    shares = counts / np.maximum(rows, 1)
    number = len(classes)
    side = 2.2 + 0.85 * number
    figure = Figure(figsize=(side + 0.8, side), layout="constrained", dpi=150)
    axes = figure.add_subplot()
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    bar = figure.colorbar(image, ax=axes, fraction=0.046, pad=0.03, format="{x:.0%}")
    bar.set_label("share of the true class")
    labels = [f"{name}\n({count} clips)" for name, count in zip(classes, rows[:, 0], strict=True)]
    axes.set_xticks(range(number), classes, rotation=45, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(number), labels)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    for i in range(number):
        for j in range(number):
            if rows[i, 0]:
                axes.text(
                    j,
                    i,
                    f"{shares[i, j]:.0%}\n{counts[i, j]}",
                    ha="center",
                    va="center",
                    fontsize=8,
                    color="white" if shares[i, j] > 0.55 else "black",
                )
    figure.suptitle(title, fontsize=10)
    png = io.BytesIO()
    FigureCanvasAgg(figure).print_png(png)
    return png.getvalue()
