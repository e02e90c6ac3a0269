"""Pictures that the timeline and the page take from the video: faces, and whole frames."""

from __future__ import annotations

import io
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from peclip_fast.analyze.outputs.digest import CELLS, Digest
from peclip_fast.data.decoding.clip_source import open_clip_source
from peclip_fast.data.decoding.video_file import VideoFile
from peclip_fast.faces.box import Box

Image8 = NDArray[np.uint8]
Frames = Callable[[Collection[int]], Iterator[tuple[int, Image8]]]
"""Gives (number, uint8 RGB (H, W, 3)) of some frames of the video, in ascending order."""

SIDE = 96  # of a face's picture, in pixels
_AROUND = 1.5  # side of what is cut out over the longer side of the box


def frames_of_file(path: Path) -> Frames:
    """The frames of a video file, which is opened when they are asked for.

    Raises:
        InputError: then: the file can't be read.
    """

    def frames(numbers: Collection[int]) -> Iterator[tuple[int, Image8]]:
        source = open_clip_source(path)
        try:
            assert isinstance(source, VideoFile)
            yield from source.some({n for n in numbers if 0 <= n < source.num_frames})
        finally:
            source.close()

    return frames


def face_strips(found: Digest, frames: Frames) -> dict[int, dict[int, Image8]]:
    """For each track and cell the face, (SIDE, SIDE, 3), of those tracks that are drawn."""
    wanted: dict[int, list[tuple[int, int, Box]]] = {}
    for lane in found.lanes:
        for track in lane:
            for cell, (number, box) in found.tracks[track].faces.items():
                wanted.setdefault(number, []).append((track, cell, box))
    strips: dict[int, dict[int, Image8]] = {track: {} for lane in found.lanes for track in lane}
    for number, image in frames(wanted):
        for track, cell, box in wanted[number]:
            strips[track][cell] = cut_out(image, box)
    return strips


def cut_out(image: Image8, box: Box) -> Image8:
    """A square around a face, (SIDE, SIDE, 3); what is outside the frame is grey."""
    side = max(4.0, _AROUND * max(box.width, box.height))
    x, y = box.x + box.width / 2 - side / 2, box.y + box.height / 2 - side / 2
    left, top = int(np.floor(x)), int(np.floor(y))
    size = int(np.ceil(side))
    square = np.full((size, size, 3), 128, np.uint8)
    height, width = image.shape[:2]
    rows = slice(max(0, top), min(height, top + size))
    columns = slice(max(0, left), min(width, left + size))
    if rows.start < rows.stop and columns.start < columns.stop:
        square[
            rows.start - top : rows.stop - top, columns.start - left : columns.stop - left
        ] = image[rows, columns]  # fmt: skip
    scaled = Image.fromarray(square).resize((SIDE, SIDE), Image.Resampling.LANCZOS)
    return np.asarray(scaled)


def strip_jpeg(faces: Mapping[int, Image8]) -> bytes:
    """The faces of a lane side by side, CELLS of them, as one JPEG."""
    row = np.full((SIDE, CELLS * SIDE, 3), 255, np.uint8)
    for cell, face in faces.items():
        row[:, cell * SIDE : (cell + 1) * SIDE] = face
    return jpeg(row)


def jpeg(image: Image8, most: int | None = None, quality: int = 80) -> bytes:
    """A picture as JPEG, no wider or higher than ``most`` pixels."""
    picture = Image.fromarray(image)
    if most is not None:
        picture.thumbnail((most, most), Image.Resampling.LANCZOS)
    data = io.BytesIO()
    picture.save(data, "JPEG", quality=quality)
    return data.getvalue()
