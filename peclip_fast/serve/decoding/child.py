"""The decoding process: takes a task, does it, says what came of it, and waits for the next.

A task names a file of the server's own. What the process may take of the machine is limited, and
what a damaged file does to it happens to nobody else.
"""

from __future__ import annotations

import contextlib
import errno
import os
import resource
import signal
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from peclip_fast.data.decoding.clip_index import clip_index
from peclip_fast.data.decoding.packed_file import check_packed
from peclip_fast.data.decoding.video_file import VideoFile
from peclip_fast.data.decoding.video_index import VideoIndex
from peclip_fast.data.decoding.video_scan import scan
from peclip_fast.data.transforms.augment import apply_transform, centre_transform
from peclip_fast.errors import InputError, one_line
from peclip_fast.faces.finder import FaceFinder
from peclip_fast.serve.decoding.analysis import analyze
from peclip_fast.serve.decoding.kinds import is_video
from peclip_fast.serve.decoding.messages import hear, tell, tell_images
from peclip_fast.serve.decoding.recipe import ServedRecipe
from peclip_fast.serve.limits import StatusError

MEMORY = 4 << 30  # bytes that it may take for files
_FILE = 4 << 30  # bytes of a file that it may write
_FULL = (errno.ENOSPC, errno.EDQUOT)
_FAT = 1 << 20  # kilobytes: a process that had more is not used again


def serve_tasks(server: Connection, recipe: ServedRecipe) -> None:
    """The whole life of the process; it ends when the server does."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # the server's to answer
    clip_index().switch_off()  # files come once
    finder = recipe.finder()
    _confine()
    with contextlib.suppress(EOFError, ConnectionError):
        tell(server, {"ready": True})
        while True:
            task = hear(server)
            answer = _answer(server, recipe, finder, task)
            fat = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss > _FAT
            last = fat or answer.pop("last", False)
            tell(server, {**answer, "last": last})
            if last:
                return


def _answer(
    server: Connection, recipe: ServedRecipe, finder: FaceFinder, task: dict[str, Any]
) -> dict[str, Any]:
    path = Path(task["path"])
    try:
        return _done(server, recipe, finder, task, path)
    except ConnectionError:
        raise
    except Exception:
        if path.exists():
            raise
        # Its job was deleted, with all that was being written; nobody waits for an answer.
        return {"status": 404, "reason": "the video was removed", "last": True}


def _done(
    server: Connection, recipe: ServedRecipe, finder: FaceFinder, task: dict[str, Any], path: Path
) -> dict[str, Any]:
    try:
        if task["kind"] == "analyze":
            return {"done": analyze(server, recipe, finder, path, Path(task["folder"]))}
        index = _checked(path, recipe)
        if task["kind"] == "clip":
            return {"done": _clip(server, recipe, path, index)}
        return {"done": _facts(index)}
    except StatusError as refused:
        return {"status": refused.status, "reason": refused.reason}
    except OSError as error:
        if error.errno not in _FULL:
            raise
        return {"status": 503, "reason": f"the server's disk is full ({one_line(error.strerror)})"}
    except InputError as error:
        reason = str(error).removeprefix(f"{path}: ").replace(str(path), "the video")
        return {"status": 422, "reason": reason}
    except MemoryError:
        return {"status": 422, "reason": "the video needs too much memory"}


def _checked(path: Path, recipe: ServedRecipe) -> VideoIndex:
    """What a file is, where it is a video within the limits."""
    if path.stat().st_size == 0:
        raise StatusError(422, "nothing was sent: expected the bytes of a video file")
    try:
        index = scan(path)
    except InputError:
        if is_video(path):
            raise
        raise StatusError(415, "this is no video file of a kind that is known") from None
    facts = _facts(index)
    recipe.limits.check_video(
        facts["width"], facts["height"], facts["frames"], facts["seconds"] or 0.0
    )
    if index.codec == "mjpeg":
        check_packed(path)
    return index


def _facts(index: VideoIndex) -> dict[str, Any]:
    times = index.seconds()
    seconds = None if times is None else times[-1] - times[0]
    return {
        "width": index.width,
        "height": index.height,
        "frames": index.num_frames,
        "seconds": seconds,
    }


def _clip(
    server: Connection, recipe: ServedRecipe, path: Path, index: VideoIndex
) -> dict[str, Any]:
    """Send the frames that the model sees of a clip, as they are in testing."""
    video = VideoFile(path, index=index)
    try:
        frames = video.read(recipe.dataset().draw_frames(video.num_frames))
    finally:
        video.close()
    images = apply_transform(frames, centre_transform(*frames.shape[1:3]), recipe.image_size)
    tell(server, {"images": True})
    tell_images(server, {"frames": images}, ("frames",))
    return _facts(index)


def _confine() -> None:
    """Take no more of the machine from now on than a video may need."""
    with open("/proc/self/statm", encoding="ascii") as file:
        pages = int(file.read().split()[0])
    _lower(resource.RLIMIT_AS, pages * os.sysconf("SC_PAGE_SIZE") + MEMORY)
    _lower(resource.RLIMIT_FSIZE, _FILE)
    _lower(resource.RLIMIT_CORE, 0)


def _lower(what: int, most: int) -> None:
    hard = resource.getrlimit(what)[1]
    most = most if hard == resource.RLIM_INFINITY else min(most, hard)
    resource.setrlimit(what, (most, most))
