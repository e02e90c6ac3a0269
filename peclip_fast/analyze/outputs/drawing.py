"""What is drawn on a frame of the annotated video: boxes with labels, and the running bar."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from peclip_fast.analyze.outputs.digest import Digest
from peclip_fast.analyze.outputs.timeline import clock, ink, shortened
from peclip_fast.analyze.results import FaceRow, prediction_of
from peclip_fast.plots.palette import GREY, look

_FONT = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans-Bold.ttf"
_BACK = (0, 0, 0, 150)  # behind the running bar
_EMPTY = (255, 255, 255, 40)  # where a lane has no prediction


Plate = tuple[float, float, float, float]  # left, top, right, bottom


class FrameDrawer:
    """Draws on frames of one size.

    Args:
        found: of the analysis.
        classes: names.
        height: of the frames, in pixels.
        width: of the frames.
    """

    def __init__(self, found: Digest, classes: tuple[str, ...], height: int, width: int) -> None:
        self._found, self._classes = found, classes
        self._height, self._width = height, width
        short = min(height, width)
        self._line = max(2, round(short / 180))
        self._font = ImageFont.truetype(str(_FONT), max(11, round(short / 26)))
        self._bar = self._running_bar(max(5, round(short / 60)))

    def draw(
        self, frame: NDArray[np.uint8], rows: Sequence[FaceRow], time: float
    ) -> NDArray[np.uint8]:
        """A frame uint8 RGB (H, W, 3) with the boxes of its rows, and where in the video it is."""
        image = Image.fromarray(frame)
        pen = ImageDraw.Draw(image)
        plates: list[Plate] = []
        for row in sorted(rows, key=lambda row: row.track or 0):
            if row.box is not None:
                plates.append(self._box(pen, row, plates))
        top = self._height - self._bar.height
        image.paste(self._bar, (0, top), self._bar)
        share = (time - self._found.start) / (self._found.end - self._found.start)
        x = round(min(max(share, 0.0), 1.0) * (self._width - 1))
        pen.line((x, top, x, self._height), fill="white", width=self._line)
        text = clock(time)
        left, _, right, bottom = pen.textbbox((0, 0), text, font=self._font)
        place = min(max(0, x - (right - left) // 2), self._width - (right - left) - 2)
        pen.text((place, top - bottom - 2), text, fill="white", font=self._font,
                 stroke_width=2, stroke_fill="black")  # fmt: skip
        return np.asarray(image)

    def _box(self, pen: ImageDraw.ImageDraw, row: FaceRow, taken: list[Plate]) -> Plate:
        """A box and its label, which hides none of those that are there; gives its place."""
        assert row.box is not None
        name = prediction_of(self._classes, row)
        colour = GREY if name is None else look(self._classes.index(name)).colour
        text = "?" if row.track is None else f"{row.track}"
        if name is not None and row.probabilities is not None:
            text += f" {shortened(name)} {100 * row.probabilities[self._classes.index(name)]:.0f} %"
        x, y, width, height = row.box
        corners = (x, y, x + width, y + height)
        pen.rectangle(corners, outline="white", width=2 * self._line)
        pen.rectangle(corners, outline=colour, width=self._line)
        left, top, right, bottom = pen.textbbox((0, 0), text, font=self._font)
        wide, high, pad = right - left, bottom - top, self._line + 1
        # Above the box where there is room, or else below, above that, at its upper edge.
        tall = high + 2 * pad
        at_x = min(max(0.0, x), max(0.0, self._width - wide - 2.0 * pad))
        lowest = self._height - self._bar.height - tall
        plates = [
            (at_x, at_y, at_x + wide + 2 * pad, at_y + tall)
            for at_y in (y - tall, y + height, y - 2 * tall, y + height + tall, y)
            if 0 <= at_y <= lowest
        ]
        if not plates:
            at_y = min(max(0.0, y), lowest)
            plates = [(at_x, at_y, at_x + wide + 2 * pad, at_y + tall)]
        plate = next((one for one in plates if not any(_meet(one, t) for t in taken)), plates[0])
        pen.rectangle(plate, fill=colour)
        place = plate[0] + pad - left, plate[1] + pad - top
        pen.text(place, text, fill=ink(colour), font=self._font)
        return plate

    def _running_bar(self, lane: int) -> Image.Image:
        """All lanes over the whole time, RGBA."""
        lanes = self._found.lanes
        gap = max(1, lane // 4)
        bar = Image.new("RGBA", (self._width, gap + max(1, len(lanes)) * (lane + gap)), _BACK)
        pen = ImageDraw.Draw(bar)
        span = self._found.end - self._found.start
        for number, tracks in enumerate(lanes):
            y = gap + number * (lane + gap)
            pen.rectangle((0, y, self._width, y + lane - 1), fill=_EMPTY)
            for track in tracks:
                for segment in self._found.tracks[track].segments:
                    first, last = (
                        (moment - self._found.start) / span * self._width
                        for moment in (segment.start, segment.end)
                    )
                    colour = look(self._classes.index(segment.prediction)).colour
                    pen.rectangle((first, y, max(first, last - 1), y + lane - 1), fill=colour)
        return bar


def _meet(one: Plate, other: Plate) -> bool:
    across = one[0] < other[2] and other[0] < one[2]
    return across and one[1] < other[3] and other[1] < one[3]
