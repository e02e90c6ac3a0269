"""``python -m peclip_fast.demo.scene_video``: a video of several drawn people, and what is in it.

``scene.mp4`` comes with ``scene.json``, which has every face's box and expression in every frame:
the truth that ``python -m peclip_fast.analyze.score`` measures an analysis against.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

from peclip_fast.demo.animate import CAMERA_NOISE
from peclip_fast.demo.draw import as_bytes, draw_figure
from peclip_fast.demo.identity import Identity
from peclip_fast.demo.render import RATE
from peclip_fast.demo.scene import (
    CHANGE,
    HEIGHT,
    MOST_PEOPLE,
    TABLE,
    VISIBLE,
    WIDTH,
    DrawnScene,
    Moment,
    Person,
    make_scene,
    visible,
)
from peclip_fast.demo.units import EXPRESSIONS
from peclip_fast.errors import InputError
from peclip_fast.faces.box import Box
from peclip_fast.files import PARTIAL, write_text

_X264 = {"crf": "18", "preset": "veryfast"}
_NOISE = 64  # pixels by which the noise is moved
FIGURES = 4  # decimals of what is written


@dataclass(frozen=True)
class PersonTruth:
    """What one person does.

    Args:
        identity: number of the face.
        spans: expression, start and end in seconds of each.
        boxes: x, y, width and height in pixels in every frame; None where less than half of the
            face is seen.
    """

    identity: int
    spans: list[list[str | float]]
    boxes: list[list[float] | None]


@dataclass(frozen=True)
class SceneTruth:
    """What a drawn video shows: scene.json.

    Args:
        width: of a frame, in pixels.
        height: of a frame.
        rate: frames a second; frame n is shown at n / rate seconds.
        change: seconds that an expression takes to become the next one, half of it before a span's
            start.
        classes: names of the expressions.
        people: one by one.
    """

    width: int
    height: int
    rate: int
    change: float
    classes: list[str]
    people: list[PersonTruth]


def frames_of(scene: DrawnScene) -> Iterator[tuple[NDArray[np.uint8], list[Box | None]]]:
    """Each frame (HEIGHT, WIDTH, 3), uint8 RGB, and the box of every face that can be seen."""
    rng = np.random.default_rng([0x40153, scene.seed])
    room, table = _room(rng), round(TABLE)
    wood = np.linspace((134, 98, 66), (88, 62, 42), HEIGHT - table, dtype=np.float32)[:, None]
    # One field of it, seen from another place in each frame: drawing it anew takes half the time.
    noise = CAMERA_NOISE * rng.standard_normal((HEIGHT + _NOISE, WIDTH + _NOISE, 3), np.float32)
    faces = [Identity.numbered(person.identity) for person in scene.people]
    for number in range(round(scene.seconds * RATE)):
        picture, masks, boxes = room.copy(), [], []
        for person, who in zip(scene.people, faces, strict=True):
            moment = person.at(number / RATE)
            masks.append(_draw(picture, person, who, moment))
            boxes.append(moment.box())
        picture[table:] = wood
        y, x = rng.integers(_NOISE, size=2)
        picture += noise[y : y + HEIGHT, x : x + WIDTH]
        seen = [visible(boxes, k, masks) >= VISIBLE for k in range(len(boxes))]
        shown = [box if is_seen else None for box, is_seen in zip(boxes, seen, strict=True)]
        yield as_bytes(picture), shown


def write_scene(path: Path, scene: DrawnScene) -> SceneTruth:
    """Draw a scene into a video file, and its truth into the .json file of the same stem.

    Raises:
        InputError: the file can't be written; names it.
    """
    if path.suffix != ".mp4":
        raise InputError(f"{path}: expected a name that ends in .mp4")
    boxes: list[list[list[float] | None]] = [[] for _ in scene.people]
    side = path.with_name(f"{path.name}{PARTIAL}{os.getpid()}")
    try:
        with av.open(str(side), "w", format="mp4") as container:
            stream = container.add_stream("libx264", rate=RATE, options=_X264)
            assert isinstance(stream, av.VideoStream)
            stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
            for picture, shown in frames_of(scene):
                container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
                for track, box in zip(boxes, shown, strict=True):
                    track.append(box and [round(value, FIGURES) for value in box])
            container.mux(stream.encode(None))
        os.replace(side, path)
    except OSError as error:
        raise InputError(f"{path}: can't be written: {error.strerror}") from None
    finally:
        side.unlink(missing_ok=True)
    truth = SceneTruth(
        WIDTH, HEIGHT, RATE, CHANGE, list(EXPRESSIONS),
        [
            PersonTruth(
                person.identity,
                [[s.expression, round(s.start, FIGURES), round(s.end, FIGURES)]
                 for s in person.spans],
                track,
            )
            for person, track in zip(scene.people, boxes, strict=True)
        ],
    )  # fmt: skip
    write_text(path.with_suffix(".json"), json.dumps(asdict(truth)) + "\n")
    return truth


def _room(rng: np.random.Generator) -> NDArray[np.float32]:
    """A wall that grows darker towards the floor, with a few pictures on it."""
    wall = rng.uniform(120, 190, 3)
    shade = np.linspace(1.05, 0.7, HEIGHT)[:, None, None]
    room = np.broadcast_to(wall * shade, (HEIGHT, WIDTH, 3)).astype(np.float32)
    for centre in np.linspace(0.15, 0.85, 4) * WIDTH:
        width, height = rng.integers(30, 70), rng.integers(24, 50)
        x, y = int(centre - width / 2), int(rng.integers(8, 30))
        room[y : y + height, x : x + width] = 50
        room[y + 3 : y + height - 3, x + 3 : x + width - 3] = rng.uniform(60, 220, 3)
    return room


def _draw(
    picture: NDArray[np.float32], person: Person, who: Identity, moment: Moment
) -> NDArray[np.bool_]:
    """Put a person into the picture; where (HEIGHT, WIDTH) it is covered now."""
    pixels, cover = draw_figure(moment.shape, who, moment.view, person.light(), moment.size)
    (x, y), size = moment.corner, moment.size
    rows = slice(max(0, y), min(HEIGHT, max(0, y + size)))
    columns = slice(max(0, x), min(WIDTH, max(0, x + size)))
    there = (slice(rows.start - y, rows.stop - y), slice(columns.start - x, columns.stop - x))
    mask = np.zeros((HEIGHT, WIDTH), bool)
    if rows.start < rows.stop and columns.start < columns.stop:
        part = cover[there]
        mask[rows, columns] = part > 0.5
        under = picture[rows, columns]
        under += part[..., None] * (pixels[there] - under)
    return mask


def main(argv: list[str] | None = None) -> int:
    """Draw a scene; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m peclip_fast.demo.scene_video",
                                     description=__doc__.split("\n\n")[0])  # fmt: skip
    parser.add_argument("output", type=Path, help="the video, as scene.mp4")
    parser.add_argument("--people", type=int, default=4, help=f"1 to {MOST_PEOPLE}")
    parser.add_argument("--seconds", type=float, default=24.0)
    parser.add_argument("--seed", type=int, default=0, help="of the faces and what they do")
    options = parser.parse_args(argv)
    try:
        write_scene(options.output, make_scene(options.people, options.seconds, options.seed))
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(options.output)
    print(options.output.with_suffix(".json"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
