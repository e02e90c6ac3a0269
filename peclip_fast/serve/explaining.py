"""The strip of a window: where the model looks, and what it says frame by frame."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path

from peclip_fast.analyze.results import WindowRow
from peclip_fast.analyze.tables import WINDOWS as TABLE
from peclip_fast.errors import InputError
from peclip_fast.explain.explanation import explain_clip
from peclip_fast.explain.scene import Scene
from peclip_fast.explain.strip import strip_png
from peclip_fast.files import write_bytes
from peclip_fast.models.adapted_clip import AdaptedCLIP
from peclip_fast.serve.decoding.analysis import WINDOWS, unpack_window, window_name
from peclip_fast.serve.decoding.recipe import ServedRecipe
from peclip_fast.serve.device import DeviceQueue
from peclip_fast.serve.jobs import Job
from peclip_fast.serve.limits import StatusError

_MOST = 4  # explanations that may wait


class Explainer:
    """Draws explanations with the server's model.

    Args:
        model: in eval mode.
        recipe: what windows are.
        device: has the model.
        title: of what the model was trained on.
    """

    def __init__(
        self, model: AdaptedCLIP, recipe: ServedRecipe, device: DeviceQueue, title: str
    ) -> None:
        self._model, self._recipe, self._device, self._title = model, recipe, device, title
        self._waiting = 0

    async def strip(self, job: Job, rows: list[WindowRow], number: int) -> bytes:
        """A PNG of a window, which is drawn once.

        Args:
            job: that is done.
            rows: of the track's windows.
            number: of the window among them.

        Raises:
            StatusError: there is no such window, or too much to do.
        """
        if not 0 <= number < len(rows):
            raise StatusError(404, f"window {number}: this track has {len(rows)} windows")
        row = rows[number]
        name = window_name(row.track, row.first_frame, row.last_frame)
        drawn = job.result / WINDOWS / f"{name}.png"
        if not drawn.is_file():
            if self._waiting >= _MOST:
                raise StatusError(429, f"{_MOST} explanations are waiting already")
            self._waiting += 1
            try:
                scene = await asyncio.wrap_future(
                    self._device.call(lambda: self._scene(drawn.with_suffix(""), row))
                )
                strip = await asyncio.to_thread(strip_png, scene)
            finally:
                self._waiting -= 1
            with contextlib.suppress(OSError):  # then it is drawn again the next time
                write_bytes(drawn, strip)
            return strip
        return drawn.read_bytes()

    def _scene(self, file: Path, row: WindowRow) -> Scene:
        try:
            data = file.read_bytes()
        except FileNotFoundError:
            raise StatusError(
                404, "this window can't be explained: only the first ones of a long video are kept"
            ) from None
        try:
            given = unpack_window(data, self._recipe.inputs, self._recipe.shape)
        except InputError as error:  # or it is of a server with another model
            raise StatusError(404, f"this window can't be explained: {error}") from None
        device = next(self._model.parameters()).device
        on_device = {name: images.to(device) for name, images in given.items()}
        frames = given.get("frames")
        if frames is None:
            raise StatusError(422, "only models that see the frames can be explained")
        others = {name: images for name, images in on_device.items() if name != "frames"}
        explanation = explain_clip(self._model, on_device["frames"], **others)
        length = row.last_frame - row.first_frame + 1
        numbers = self._recipe.dataset().draw_frames(length)
        name = f"Track {row.track}, {row.start:.2f} to {row.end:.2f} s"
        classes = self._model.classes
        return Scene(name, numbers, length, frames, classes, explanation, self._title)


def windows_of(job: Job, rows: list[WindowRow], track: int) -> list[WindowRow]:
    """Those of a track.

    Raises:
        StatusError: there is no such track.
    """
    found = [row for row in rows if row.track == track]
    if not found:
        raise StatusError(404, f"track {track}: no such track with windows in {TABLE}")
    return found
