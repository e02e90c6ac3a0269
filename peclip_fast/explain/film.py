"""The overlay as a video: the frame, its rollouts, and the probabilities so far."""

from __future__ import annotations

import io
from collections.abc import Iterator

import av
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from peclip_fast.explain.scene import Scene, shortened
from peclip_fast.plots.palette import look

RATE = 4  # pictures a second: slow enough to be looked at, whatever the clip's own speed
_DPI = 100
_CELL = 2.2  # inches of a picture with what is around it
_BARS = 1.25  # inches of the class names next to the bars


def film_mp4(scene: Scene) -> bytes:
    """H.264 in MP4, a picture for each frame of the clip that the model saw."""
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=RATE, options={"crf": "18"})
        assert isinstance(stream, av.VideoStream)
        stream.pix_fmt = "yuv420p"
        for number, picture in enumerate(_pictures(scene)):
            if number == 0:
                stream.height, stream.width = picture.shape[:2]
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))
    return file.getvalue()


def _pictures(scene: Scene) -> Iterator[NDArray[np.uint8]]:
    """Each of them uint8 (H, W, 3), H and W even, as H.264 with half the colours wants it."""
    rows, inputs = scene.rows(), scene.inputs()
    stages = len(scene.explanation.stages)
    figure = Figure(((1 + stages) * _CELL + _BARS, 2 * _CELL + 0.5), dpi=_DPI, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    grid = figure.subplots(2, 1 + stages, width_ratios=[_CELL + _BARS] + [_CELL] * stages)
    shown = [grid[0, 0].imshow(inputs[0])]
    grid[0, 0].set_title("input", fontsize=10)
    for axes, row in zip(grid[:, 1:].flat, rows, strict=True):
        shown.append(axes.imshow(row.images[0]))
        axes.set_title(f"{row.name}\n{row.kind}", fontsize=9)
    for axes in [grid[0, 0], *grid[:, 1:].flat]:
        axes.set_axis_off()
    for t, number in enumerate(scene.numbers):
        for image, pixels in zip(shown, [inputs, *(row.images for row in rows)], strict=True):
            image.set_data(pixels[t])
        _bars(grid[1, 0], scene, t)
        where = f"frame {number} of 0 to {scene.length - 1}"
        title = f"{shortened(scene.clip, 40)}: predicted {scene.answer}; {where}"
        figure.suptitle(title, fontsize=11)
        canvas.draw()
        pixels = np.asarray(canvas.buffer_rgba())[..., :3]
        even = pixels[: pixels.shape[0] // 2 * 2, : pixels.shape[1] // 2 * 2]
        yield np.ascontiguousarray(even)


def _bars(axes: Axes, scene: Scene, t: int) -> None:
    axes.clear()
    names = [shortened(name, 24) for name in scene.classes]
    colours = [look(number).colour for number in range(len(names))]
    axes.barh(names, scene.explanation.probabilities[t].tolist(), color=colours)
    axes.invert_yaxis()
    axes.set_xlim(0, 1)
    axes.set_xticks([0, 0.5, 1], ["0", "50 %", "100 %"], fontsize=8)
    axes.tick_params(axis="y", labelsize=min(9, 90 / len(names)), length=0)
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_title("probability up to here", fontsize=9)
