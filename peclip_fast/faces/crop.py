"""How a model's training clips show a face, and the cropper that shows others the same way."""

from __future__ import annotations

import json
import math
from collections import deque
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

import numpy as np
from PIL import Image

from peclip_fast.errors import InputError
from peclip_fast.faces.finder import FacePlace
from peclip_fast.faces.geometry import Frame, Rectangle
from peclip_fast.files import write_text
from peclip_fast.json_files import read_json

FILE = "crop.json"
_STEADY, _STEADIED = 1.0, ("side", "roll")  # seconds over which these are steadied
_OFF_SIDE, _OFF_CENTRE = 1.5, 0.3  # a crop that differs by more is another one: times, sides


@dataclass(frozen=True)
class CropProfile:
    """Where the crop of a face lies, in units of the side of the face's ``FacePlace``.

    Args:
        scale: the crop's side.
        x: how far the crop's centre lies to the right of the face's.
        y: how far it lies below.
        aligned: whether faces are turned so that the eyes are level.
        seconds: usual length of a training clip; None if nobody knows.
        faces: share of the frames looked at that showed a face.
        origin: where all this comes from.
    """

    scale: float
    x: float
    y: float
    aligned: bool = False
    seconds: float | None = None
    faces: float = 1.0
    origin: str = "given"

    def __post_init__(self) -> None:
        if not (0 < self.scale < 100 and abs(self.x) < 100 and abs(self.y) < 100):
            raise InputError(
                f"crop profile: expected a scale above 0 and a place near the face, got "
                f"{self.scale:g} at {self.x:g}, {self.y:g}"
            )

    @property
    def of_faces(self) -> bool:
        """Whether the training clips show faces at all."""
        return self.faces >= 0.5

    def rectangle(self, place: FacePlace) -> Rectangle:
        """The crop of a face, in pixels of the frame."""
        angle = place.roll if self.aligned else 0.0
        sine, cosine = math.sin(angle), math.cos(angle)
        right = (cosine * self.x - sine * self.y) * place.side
        down = (sine * self.x + cosine * self.y) * place.side
        return Rectangle(place.x + right, place.y + down, self.scale * place.side, angle)

    def differs(self, other: CropProfile) -> str | None:
        """In which way crops of this profile aren't those of another; None if they are."""
        smaller = self.scale / other.scale
        times = max(smaller, 1 / smaller)
        if times > _OFF_SIDE:
            return f"the face is {times:.1f} times as {'small' if smaller > 1 else 'large'}"
        off = math.hypot(self.x / self.scale - other.x / other.scale,
                         self.y / self.scale - other.y / other.scale)  # fmt: skip
        if off > _OFF_CENTRE:
            return f"the face is off its place by {off:.0%} of the picture's side"
        return None


# Around the whole head, as the field's own crops are. Used where nothing is known.
USUAL = CropProfile(scale=1.5, x=0.0, y=-0.1, origin="usual")


class SteadyPlaces:
    """The places of one face in frames in a row, with the size and turn of the last second.

    So a face doesn't grow as its mouth opens, and a crop doesn't tremble.
    """

    def __init__(self) -> None:
        self._places: deque[tuple[float, FacePlace]] = deque()

    def next(self, time: float, place: FacePlace) -> FacePlace:
        """The place in the next frame with the face, which is shown at ``time`` seconds."""
        self._places.append((time, place))
        while self._places[0][0] < time - _STEADY:
            self._places.popleft()
        side, roll = (median(getattr(p, name) for _, p in self._places) for name in _STEADIED)
        return place._replace(side=side, roll=roll)


def read_profile(path: Path) -> CropProfile:
    """The profile of a file.

    Raises:
        InputError: it is missing, damaged, or of another form; names it.
    """
    return read_json(path, CropProfile)


def write_profile(path: Path, profile: CropProfile) -> None:
    """Write a profile as JSON."""
    write_text(path, json.dumps(asdict(profile), indent=1) + "\n")


def cut(frame: Frame, where: Rectangle, side: int) -> Frame:
    """A crop uint8 (side, side, 3) of a frame; antialiased, black outside of the frame.

    It is a resize with antialiasing, as of the training clips, also where the square is turned.
    """
    if where.angle:
        frame = where.cut(frame, max(side, math.ceil(where.side)))
        return np.asarray(Image.fromarray(frame).resize((side, side), Image.Resampling.BILINEAR))
    height, width = frame.shape[:2]
    left, top = where.x - where.side / 2, where.y - where.side / 2
    first_x, first_y = math.floor(left), math.floor(top)
    last_x, last_y = math.ceil(left + where.side), math.ceil(top + where.side)
    inside = frame[max(first_y, 0) : max(last_y, 0), max(first_x, 0) : max(last_x, 0)]
    lacks = (
        (min(max(-first_y, 0), last_y - first_y), min(max(last_y - height, 0), last_y - first_y)),
        (min(max(-first_x, 0), last_x - first_x), min(max(last_x - width, 0), last_x - first_x)),
    )
    if any(sum(lack) for lack in lacks):
        patch = np.zeros((last_y - first_y, last_x - first_x, 3), np.uint8)
        patch[lacks[0][0] : lacks[0][0] + inside.shape[0],
              lacks[1][0] : lacks[1][0] + inside.shape[1]] = inside  # fmt: skip
        inside = patch
    box = (left - first_x, top - first_y, left - first_x + where.side, top - first_y + where.side)
    image = Image.fromarray(np.ascontiguousarray(inside))
    return np.asarray(image.resize((side, side), Image.Resampling.BILINEAR, box=box))


def outside(where: Rectangle, height: int, width: int) -> float:
    """Which share of a crop lies outside of a frame of this size; turned ones as if upright."""
    shares = [
        max(0.0, min(centre + where.side / 2, size) - max(centre - where.side / 2, 0.0))
        for centre, size in ((where.x, width), (where.y, height))
    ]
    return 1 - shares[0] * shares[1] / where.side**2
