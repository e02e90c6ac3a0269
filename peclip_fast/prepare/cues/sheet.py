"""Pictures of some cues, to look at before training with them."""

from __future__ import annotations

import functools
import io
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from peclip_fast.data.cues.regions import COLOURS, region_map
from peclip_fast.data.cues.store import IndexRow, read_cues
from peclip_fast.data.decoding.clip_source import open_record
from peclip_fast.data.processes import Lost, over_clips
from peclip_fast.data.records import ClipRecord
from peclip_fast.data.transforms.sampling import sample_indices
from peclip_fast.faces.geometry import Array, Rectangle, box
from peclip_fast.prepare.contact_sheet import evenly, shortened
from peclip_fast.prepare.cues.make import CueRun

CLIPS, FRAMES = 8, 3
SIDE = 192  # of a picture, in pixels
_ROOM = 2.0  # side of the pictured square over that of the face
_DPI = 100


def cue_sheet(run: CueRun, folder: Path, title: str, processes: int, seconds: float) -> bytes:
    """A PNG with a row for each of some clips: of three frames each the face, its landmarks over
    it, and its regions.

    Args:
        run: the clips.
        folder: their cues.
        title: above the pictures.
        processes: that draw.
        seconds: time for one clip.
    """
    rows = evenly(run.rows, CLIPS)
    jobs = [(row, run.clips[row.clip]) for row in rows]
    work = functools.partial(_strip, folder=folder)
    strips = dict(over_clips(work, jobs, processes, seconds, "drawing"))
    height = 0.5 + max(1, len(rows)) * (SIDE / _DPI + 0.3)
    figure = Figure(figsize=(FRAMES * 3 * SIDE / _DPI, height), dpi=_DPI, layout="constrained")
    grid = figure.subplots(max(1, len(rows)), 1, squeeze=False)[:, 0]
    for axes in grid:
        axes.set_axis_off()
    for number, (axes, row) in enumerate(zip(grid, rows, strict=False)):
        caption = f"{shortened(row.clip, 80)}: a face in {row.faces} of {row.frames} frames"
        if isinstance(strips[number], Lost):
            caption += f"; not drawn: {strips[number].reason}"
        else:
            picture, shown = strips[number]
            axes.imshow(picture, interpolation="none")
            caption += f"; {shown}"
        axes.set_title(caption, fontsize=9, pad=3)
    figure.suptitle(title, fontsize=11)
    png = io.BytesIO()
    FigureCanvasAgg(figure).print_png(png)
    return png.getvalue()


def _strip(job: tuple[IndexRow, ClipRecord], folder: Path) -> tuple[NDArray[np.uint8], str]:
    """Pictures of a clip's frames side by side, and which frames they are."""
    row, record = job
    numbers = sample_indices(row.frames, FRAMES)
    cues = read_cues(folder / row.file, numbers)
    source = open_record(record)
    try:
        frames = source.read(numbers)
    finally:
        source.close()
    pieces, names = [], []
    for k, number in enumerate(numbers):
        stored = None if cues.regions is None else cues.regions[k]
        pieces.append(_pictures(frames[k], cues.points[k], stored))
        found = cues.found is None or cues.found[k]
        names.append(f"{number}" if found else f"{number} (none found)")
    return np.concatenate(pieces, axis=1), f"frames {', '.join(names)}"


def _pictures(
    frame: NDArray[np.uint8], points: Array, stored: NDArray[np.uint8] | None
) -> NDArray[np.uint8]:
    """The face, the same with its landmarks, its regions: uint8 (SIDE, 3 SIDE, 3)."""
    height, width = frame.shape[:2]
    if np.isnan(points).any():
        image = Rectangle(width / 2, height / 2, max(height, width), 0.0).cut(frame, SIDE)
        return np.concatenate([image, image, np.zeros_like(image)], axis=1)
    x, y, *sides = box(points)
    where = Rectangle(float(x), float(y), _ROOM * max(sides), 0.0)
    image = where.cut(frame, SIDE)
    drawn = Image.fromarray(image)
    pen = ImageDraw.Draw(drawn)
    pen.point((where.from_frame(points) * SIDE).ravel().tolist(), fill=(0, 255, 0))
    regions = COLOURS[region_map(points, height, width) if stored is None else stored]
    whole = Image.fromarray(regions).resize((width, height), Image.Resampling.NEAREST)
    return np.concatenate([image, np.asarray(drawn), where.cut(np.asarray(whole), SIDE)], axis=1)
