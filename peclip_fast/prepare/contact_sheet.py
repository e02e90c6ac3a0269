"""Pictures of a few clips of each class on one sheet, to see what a dataset shows."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Sequence
from typing import TypeVar

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from peclip_fast.data.decoding.clip_source import open_record
from peclip_fast.data.processes import over_clips
from peclip_fast.data.records import ClipRecord, DatasetSplits
from peclip_fast.data.transforms.augment import apply_transform, centre_transform
from peclip_fast.data.transforms.sampling import sample_indices
from peclip_fast.errors import InputError

Item = TypeVar("Item")
CLIPS = 4  # of each class
FRAMES = 3  # of each clip
SIDE = 112  # of a picture, in pixels
_GAP = 3  # white pixels between the frames of a clip
_DPI = 100
_LABEL = 2.2  # inches for the class and its text


def contact_sheet(
    splits: DatasetSplits,
    texts: Sequence[str],
    records: Sequence[ClipRecord],
    title: str,
    processes: int,
    seconds: float,
) -> bytes:
    """A PNG with a row for each class: a few of its clips, from each its frames as in testing.

    Args:
        splits: for the classes and the numbers of clips.
        texts: what the text encoder reads for each class.
        records: the clips to choose from; one that can't be read leaves its place empty.
        title: above the pictures.
        processes: that read clips.
        seconds: time for one clip.
    """
    chosen = [
        (row, column, record)
        for row in range(len(splits.classes))
        for column, record in enumerate(evenly([r for r in records if r.label == row], CLIPS))
    ]
    strips = dict(over_clips(_strip, [r for *_, r in chosen], processes, seconds, "drawing"))
    clip_width = (FRAMES * (SIDE + _GAP) - _GAP) / _DPI
    size = _LABEL + CLIPS * (clip_width + 0.15), 0.55 + len(splits.classes) * (SIDE / _DPI + 0.3)
    figure = Figure(figsize=size, dpi=_DPI, layout="constrained")
    grid = figure.subplots(
        len(splits.classes),
        1 + CLIPS,
        squeeze=False,
        gridspec_kw={"width_ratios": [_LABEL, *[clip_width] * CLIPS]},
    )
    for axes in grid.flat:
        axes.set_axis_off()
    for row, (name, text) in enumerate(zip(splits.classes, texts, strict=True)):
        counts = [sum(r.label == row for r in half) for half in (splits.train, splits.test)]
        axes = grid[row, 0]
        axes.text(0, 0.98, name, fontsize=min(13, 220 / len(name)), fontweight="bold", va="top")
        axes.text(0, 0.78, f"{counts[0]} train, {counts[1]} test", fontsize=9, va="top")
        axes.text(0, 0.6, textwrap.fill(text, 34), fontsize=8, va="top", color="0.35")
    for number, (row, column, record) in enumerate(chosen):
        axes = grid[row, 1 + column]
        if isinstance(strips[number], np.ndarray):
            axes.imshow(strips[number], interpolation="none")
        axes.set_title(shortened(record.path.name), fontsize=8, pad=2, color="0.35")
    figure.suptitle(title, fontsize=11)
    png = io.BytesIO()
    FigureCanvasAgg(figure).print_png(png)
    return png.getvalue()


def evenly(items: Sequence[Item], most: int) -> list[Item]:
    """At most so many of the items, evenly spread over the list."""
    count = min(most, len(items))
    return [items[k * len(items) // count] for k in range(count)]


def _strip(record: ClipRecord) -> NDArray[np.uint8] | None:
    """The frames of a clip side by side, uint8 (SIDE, width, 3); None for a bad one."""
    try:
        source = open_record(record)
        try:
            frames = source.read(sample_indices(source.num_frames, FRAMES))
        finally:
            source.close()
    except (InputError, OSError):
        return None
    images = apply_transform(frames, centre_transform(*frames.shape[1:3]), SIDE)
    gap = np.full((SIDE, _GAP, 3), 255, np.uint8)
    pieces = [piece for image in images.permute(0, 2, 3, 1).numpy() for piece in (gap, image)]
    return np.concatenate(pieces[1:], axis=1)


def shortened(name: str, most: int = 44) -> str:
    """Without its middle, where it is longer than ``most``."""
    return name if len(name) <= most else f"{name[: most // 2]}…{name[1 - most // 2 :]}"
