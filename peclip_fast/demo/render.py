"""The demo's clips as video files: drawn once, whole under their folder's name or not there."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from peclip_fast.data.cues.descriptions import write_descriptions
from peclip_fast.data.cues.store import IndexRow, cue_file, write_cues, write_index
from peclip_fast.data.processes import Lost, over_clips
from peclip_fast.demo.animate import (
    Film,
    draw_film,
    one_expression,
    play,
    true_cues,
    two_expressions,
)
from peclip_fast.demo.files import CUES, DESCRIPTIONS, Variant
from peclip_fast.demo.identity import Identity
from peclip_fast.demo.units import ACTION_UNITS, EXPRESSIONS, NEUTRAL_WORDS, ORDER_PAIRS
from peclip_fast.errors import InputError
from peclip_fast.files import write_text
from peclip_fast.json_files import read_json

VERSION = 4  # raise it when the clips change: a folder of another version is drawn anew
MARKER = "demo.json"
PATIENCE = 600.0  # seconds for a clip, which takes a tenth of one
SIZE = 96  # height and width of a frame, in pixels
RATE = 12  # frames per second
# Numbers of identities. The small CLIP was trained on those from 10,000 on.
IDENTITIES = {"train": range(0, 36), "test": range(1000, 1016)}
# The published test sampling of 8 or 16 frames takes mirrored frames of a clip of this length.
ORDER_FRAMES = 40
SEEN = 0.85  # probability that an action unit comes into a clip's description
# Name in FFmpeg, pixel format and options of each kind of file, used in turn.
CODECS = {
    ".mp4": ("libx264", "yuv420p", {"qp": "22", "preset": "veryfast"}),
    ".webm": (
        "libvpx-vp9",
        "yuv420p",
        {
            "crf": "32",
            "qmin": "32",
            "qmax": "32",
            "b": "0",
            "deadline": "realtime",
            "cpu-used": "8",
        },
    ),
    ".avi": ("mjpeg", "yuvj420p", {"qmin": "3", "qmax": "3"}),
}
# Every frame on its own. With a fixed quantiser a frame is then the same wherever it stands.
KEY_FRAMES_ONLY = {"g": "1"}


@dataclass(frozen=True)
class Clip:
    """One drawing and the files that it becomes.

    Args:
        paths: below the root: the clip, and for the order variant its reverse.
        identity: number of the face.
        expressions: one, or two in their order.
        seed: of everything else.
    """

    paths: tuple[str, ...]
    identity: int
    expressions: tuple[str, ...]
    seed: int


def plan(variant: Variant) -> list[Clip]:
    """All clips of a variant; each split has faces of its own."""
    return [*_plan(variant)]


def _plan(variant: Variant) -> Iterator[Clip]:
    shown: list[tuple[str, ...]] = (
        [(name,) for name in EXPRESSIONS] if variant == "expressions" else [*ORDER_PAIRS]
    )
    suffixes = list(CODECS)
    for split, identities in IDENTITIES.items():
        for number, identity in enumerate(identities):
            for kind, expressions in enumerate(shown):
                suffix = suffixes[(number + kind) % len(suffixes)]
                orders = dict.fromkeys((expressions, expressions[::-1]))
                yield Clip(
                    tuple(
                        f"{split}/{'_then_'.join(order)}/{identity:04d}{suffix}" for order in orders
                    ),
                    identity,
                    expressions,
                    seed=identity * 100 + kind,
                )


def film_of(clip: Clip) -> tuple[Film, NDArray[np.uint8]]:
    """What a clip's first path shows, and its frames (T, H, W, 3), uint8 RGB."""
    rng = np.random.default_rng([0xC11F, clip.seed, len(clip.expressions)])
    units = [EXPRESSIONS[name] for name in clip.expressions]
    if len(units) == 1:
        phases, length = one_expression(units[0], rng), int(rng.integers(20, 37))
    else:
        phases, length = two_expressions(units[0], units[1], rng), ORDER_FRAMES
    film = play(Identity.numbered(clip.identity), phases, length, rng)
    return film, draw_film(film, SIZE, rng)


def description(clip: Clip, path: str) -> str:
    """The action units that one of a clip's paths shows, as one who looks on might list them.

    Some are overlooked, and those of an expression come in any order.
    """
    backwards = path != clip.paths[0]
    rng = np.random.default_rng([0xDE5C, clip.seed, len(clip.expressions), backwards])
    seen = []
    for name in clip.expressions[:: -1 if backwards else 1]:
        words = [ACTION_UNITS[unit] for unit in EXPRESSIONS[name]] or list(NEUTRAL_WORDS)
        kept = [word for word in words if rng.random() < SEEN] or words[:1]
        seen.append(", ".join(rng.permutation(kept)))
    return ", then ".join(seen) + "."


def prepare_demo(root: Path, variant: Variant) -> None:
    """Draw the demo's clips into ``root`` unless they are there: ``<split>/<class>/<clip>``.

    Beside them come their true cues and descriptions.

    They are drawn in another folder, which gets the name when all are there, so a kill leaves
    nothing half done.

    Raises:
        InputError: ``root`` holds something else.
        OSError: it can't be written.
    """
    root = Path(root).absolute()
    marker = {"demo": variant, "version": VERSION}
    found = _marker(root)
    if found == marker:
        return
    if found is None and root.exists() and any(root.iterdir()):
        raise InputError(f"{root}: holds other files; expected an empty folder for the demo")
    root.parent.mkdir(parents=True, exist_ok=True)
    _remove_abandoned(root)
    side = _side(root, os.getpid())
    try:
        clips = plan(variant)
        number = sum(len(clip.paths) for clip in clips)
        print(f"drawing the demo's {number} clips, once, into {root}", file=sys.stderr)
        for folder in {(side / path).parent for clip in clips for path in clip.paths}:
            folder.mkdir(parents=True)
        workers, draw = len(os.sched_getaffinity(0)), functools.partial(_draw, side)
        with contextlib.closing(over_clips(draw, clips, workers, PATIENCE, "drawing")) as answers:
            drawn = dict(answers)
        rows: list[IndexRow] = []
        for index, clip in enumerate(clips):
            if isinstance(drawn[index], Lost):
                raise OSError(f"{root / clip.paths[0]}: not drawn: {drawn[index].reason}")
            rows += drawn[index]
        write_index(side / CUES, rows, {"landmarks": "true", "parsing": "true"})
        texts = {path: description(clip, path) for clip in clips for path in clip.paths}
        write_descriptions(side / DESCRIPTIONS, texts)
        write_text(side / MARKER, json.dumps(marker))
        if found is not None:
            shutil.rmtree(root)
        try:
            os.replace(side, root)
        except OSError:
            if _marker(root) != marker:  # else another process was faster, and that is fine
                raise
    finally:
        shutil.rmtree(side, ignore_errors=True)


def _draw(root: Path, clip: Clip) -> list[IndexRow]:
    film, frames = film_of(clip)
    cues = true_cues(film, SIZE)
    paired = len(clip.paths) == 2
    rows = []
    for path, way in zip(clip.paths, (slice(None), slice(None, None, -1)), strict=False):
        write_video(root / path, frames[way], key_frames_only=paired)
        file = cue_file(path)
        write_cues(root / CUES / file, cues.taken(way))
        rows.append(IndexRow(path, file, len(frames), len(frames)))
    return rows


def write_video(path: Path, frames: NDArray[np.uint8], key_frames_only: bool = False) -> None:
    """Encode frames (T, H, W, 3), uint8 RGB, as its suffix says; deterministic.

    With ``key_frames_only`` the reverse of ``frames`` decodes to the reverse, bit for bit.
    """
    name, pixels, options = CODECS[path.suffix]
    if key_frames_only:
        options = options | KEY_FRAMES_ONLY
    with av.open(str(path), "w") as container:
        stream = container.add_stream(name, rate=RATE, options=options)
        assert isinstance(stream, av.VideoStream)  # as all of CODECS are
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = pixels
        stream.codec_context.thread_count = 1
        for picture in frames:
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def _marker(root: Path) -> dict[str, object] | None:
    """What the demo's folder says of itself; None where there is no such folder."""
    try:
        marker = read_json(root / MARKER, dict[str, Any])
    except InputError:
        return None
    return marker if "demo" in marker else None


def _side(root: Path, pid: int) -> Path:
    return root.with_name(f".{root.name}.drawing-{pid}")


def _remove_abandoned(root: Path) -> None:
    """Folders of processes that were killed while they drew."""
    for side in root.parent.glob(f".{root.name}.drawing-*"):
        if not Path("/proc", side.name.rpartition("-")[2]).exists():
            shutil.rmtree(side, ignore_errors=True)
