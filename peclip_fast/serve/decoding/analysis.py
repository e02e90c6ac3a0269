"""One video in the decoding process: its frames to windows, which the server's model looks at."""

from __future__ import annotations

import json
import time
import zlib
from collections import deque
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import torch

from peclip_fast.analyze.analyzer import versions
from peclip_fast.analyze.outputs import video
from peclip_fast.analyze.outputs.digest import digest
from peclip_fast.analyze.outputs.lanes_svg import lanes_svg
from peclip_fast.analyze.outputs.pictures import face_strips, frames_of_file
from peclip_fast.analyze.pipeline.classify import Deliver
from peclip_fast.analyze.pipeline.looking import look_ahead
from peclip_fast.analyze.pipeline.session import Session
from peclip_fast.analyze.pipeline.sources import OpenVideo, VideoSource
from peclip_fast.analyze.pipeline.windows import Window
from peclip_fast.analyze.reading import read_results
from peclip_fast.analyze.tables import TableWriter
from peclip_fast.errors import InputError
from peclip_fast.faces.finder import FaceFinder
from peclip_fast.files import write_text
from peclip_fast.serve.decoding.messages import hear, tell, tell_images
from peclip_fast.serve.decoding.outcome import outcome
from peclip_fast.serve.decoding.recipe import ServedRecipe

ANNOTATED, TIMELINE, OUTCOME = "annotated", "timeline.svg", "outcome.json"
WINDOWS = "windows"  # folder of what the model saw
ON_THEIR_WAY = 16  # windows
_SVG = '<svg xmlns="http://www.w3.org/2000/svg" '
_KEPT = 512 << 20  # bytes of windows that can be explained
_OFTEN = 0.2  # seconds between two words on progress
_OUTSIDE = 0.2  # share of the crops that may lie outside of the frame


def analyze(
    server: Connection, recipe: ServedRecipe, finder: FaceFinder, path: Path, folder: Path
) -> dict[str, Any]:
    """Fill a folder with all that is found in a video, as `peclip-fast analyze` finds it.

    Raises:
        InputError: the video can't be read to its end; names it.
    """
    frames = OpenVideo(VideoSource(str(path)))
    progress = _Progress(server, frames.total or 0)
    tables = TableWriter(folder, recipe.classes)
    queue = _ServersQueue(server, recipe, folder / WINDOWS)
    session = Session(tables, queue, recipe.windows, recipe.taken(), recipe.classes, recipe.smooth)
    try:
        for number, looked in enumerate(look_ahead(frames, finder)):
            session.push(looked)
            progress.tell("looking", number + 1)
        session.end()
        queue.flush()
        session.finish()
    finally:
        frames.close()
    notes = _notes(session, queue, tables.people)
    tables.close({
        "source": "video", **recipe.about, "video": frames.about, "people": tables.people,
        "faces": tables.faces, "frames_analyzed": session.frames, "notes": notes,
        "versions": versions(),
    })  # fmt: skip
    _show(path, folder, progress)
    return {"people": tables.people}


def _notes(session: Session, queue: _ServersQueue, people: int) -> list[str]:
    notes = [] if people else ["No face was found."]
    if session.outside > _OUTSIDE:
        notes.append(
            f"{session.outside:.0%} of a crop like the training clips' lies outside of the "
            "picture: this video is cropped closer."
        )
    if queue.left_out:
        notes.append(f"The last {queue.left_out} windows can't be explained: they are too many.")
    return notes


def _show(path: Path, folder: Path, progress: _Progress) -> None:
    """The annotated video, the timeline and what the page is told."""
    analysis = read_results(folder, lazily=True)
    found = digest(analysis)
    annotated = video.annotate(
        analysis, path, folder / ANNOTATED, lambda number: progress.tell("drawing", number + 1)
    )
    strips = face_strips(found, frames_of_file(path))
    drawing = lanes_svg(analysis, found, strips).replace("<svg ", _SVG, 1)
    write_text(folder / TIMELINE, drawing)
    whole = outcome(analysis, found, annotated.name)
    write_text(folder / OUTCOME, json.dumps(whole, ensure_ascii=False))


class _Progress:
    """Says how far it is, and so notices a server that is gone."""

    def __init__(self, server: Connection, total: int) -> None:
        self._server, self._total, self._last = server, total, 0.0

    def tell(self, step: str, frame: int) -> None:
        now = time.monotonic()
        if now > self._last + _OFTEN or frame >= self._total:
            self._last = now
            tell(self._server, {"step": step, "frame": frame, "frames": self._total})


class _ServersQueue:
    """Windows that the server's model looks at, together with those of others; ``Windows``."""

    def __init__(self, server: Connection, recipe: ServedRecipe, folder: Path) -> None:
        self._server, self._recipe, self._folder = server, recipe, folder
        self._waiting: deque[tuple[Window, Deliver]] = deque()
        self._kept = 0
        self.left_out = 0
        folder.mkdir(parents=True, exist_ok=True)

    def put(self, window: Window, deliver: Deliver) -> None:
        while len(self._waiting) >= ON_THEIR_WAY:
            self._take()
        tell(self._server, {"window": len(self._waiting)})
        tell_images(self._server, window.given, self._recipe.inputs)
        self._waiting.append((window, deliver))
        self._keep(window)

    def poll(self) -> None:
        while self._waiting and self._server.poll(0):
            self._take()

    def flush(self) -> None:
        while self._waiting:
            self._take()

    def _take(self) -> None:
        answer = hear(self._server)
        window, deliver = self._waiting.popleft()
        deliver(window, tuple(answer["probabilities"]))

    def _keep(self, window: Window) -> None:
        if self._kept > _KEPT or window.track.person is None:
            self.left_out += 1
            return
        packed = pack_window(window.given, self._recipe.inputs)
        self._kept += len(packed)
        name = window_name(window.track.person.number, window.first_frame, window.last_frame)
        (self._folder / name).write_bytes(packed)


def window_name(track: int, first_frame: int, last_frame: int) -> str:
    """Of the file of what the model saw of a window."""
    return f"{track}-{first_frame}-{last_frame}"


def pack_window(given: dict[str, torch.Tensor], names: tuple[str, ...]) -> bytes:
    """What the model saw, exactly: the differences between frames take half of the room."""
    stacked = np.stack([given[name].numpy() for name in names])
    stacked[:, 1:] = stacked[:, 1:] - stacked[:, :-1]  # modulo 256
    return zlib.compress(stacked.tobytes(), 1)


def unpack_window(
    data: bytes, names: tuple[str, ...], shape: tuple[int, ...]
) -> dict[str, torch.Tensor]:
    """What ``pack_window`` was given.

    Raises:
        InputError: the data are damaged.
    """
    size = len(names) * int(np.prod(shape))
    try:
        unpacker = zlib.decompressobj()
        plain = unpacker.decompress(data, size + 1)
        if not unpacker.eof:
            raise ValueError("it doesn't end where it should")
        stacked = np.frombuffer(plain, np.uint8).reshape(len(names), *shape)
    except (zlib.error, ValueError) as error:
        raise InputError(f"a window's file is damaged: {error}") from None
    whole = np.cumsum(stacked, axis=1, dtype=np.uint8)
    return {name: torch.from_numpy(part) for name, part in zip(names, whole, strict=True)}
