"""Where a face is in a frame."""

from typing import NamedTuple


class Box(NamedTuple):
    """A face in pixels of the frame as a player shows it; `x`, `y` is the upper left corner."""

    x: float
    y: float
    width: float
    height: float
