"""The confusion matrix as a picture."""

from __future__ import annotations

import io

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from peclip_fast.engine.metrics import Scores


def confusion_png(scores: Scores, title: str) -> bytes:
    """A PNG: shares of each true class as shades of one colour, with the numbers of clips.

    One colour from light to dark is read the same by colour-blind eyes and in grey.
    """
    counts = np.array(scores.confusion)
    rows = counts.sum(1, keepdims=True)
    shares = counts / np.maximum(rows, 1)
    number = len(scores.classes)
    side = 2.2 + 0.85 * number
    figure = Figure(figsize=(side + 0.8, side), layout="constrained", dpi=150)
    axes = figure.add_subplot()
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    bar = figure.colorbar(image, ax=axes, fraction=0.046, pad=0.03, format="{x:.0%}")
    bar.set_label("share of the true class")
    labels = [
        f"{name}\n({count} clips)"
        for name, count in zip(scores.classes, scores.counts, strict=True)
    ]
    axes.set_xticks(range(number), scores.classes, rotation=45, ha="right", rotation_mode="anchor")
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
    figure.suptitle(f"{title}\nUAR {scores.uar:.2%}, WAR {scores.war:.2%}", fontsize=10)
    png = io.BytesIO()
    FigureCanvasAgg(figure).print_png(png)
    return png.getvalue()
