"""Damaged videos of all codecs and containers, and damaged frames: an error, or frames.

They are read in another process, with little memory: where it ends or hangs, the clip that it was
reading is to blame, and the next one gets a new process. What a damaged video shows can't be
judged, as no format here has a checksum; that all frames are of one size can.
"""

from __future__ import annotations

import json
import os
import random
import select
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import av
from faults.campaign import PATIENCE, Tally, Verdict
from faults.mutations import damaged, mutated
from helpers.apart import apart
from helpers.clips.drawn_clips import picture
from PIL import Image

COUNT, SIDE = 24, 64
MEMORY = 1 << 30  # bytes
SECONDS = 20.0  # for a clip
ROOT = Path(__file__).parents[2]
QUIET = {
    "libx264": {"preset": "ultrafast", "bf": "2"},
    "libx265": {"preset": "ultrafast", "x265-params": "log-level=none"},
    "libsvtav1": {"preset": "12", "svtav1-params": "lp=1"},
    "libvpx-vp9": {"deadline": "realtime", "cpu-used": "8"},
    "mpeg4": {"bf": "2"},
}
PIXELS = {"mjpeg": "yuvj420p", "gif": "rgb8", "ffv1": "yuv420p"}
VIDEOS = {
    "libx264": ("mp4", "mkv", "avi", "flv", "ts", "mov"),
    "libx265": ("mp4", "mkv", "mov"),
    "mpeg4": ("avi", "mp4"),
    "mpeg2video": ("mpg", "ts"),
    "libvpx": ("webm", "mkv"),
    "libvpx-vp9": ("webm", "mp4"),
    "libsvtav1": ("mp4", "webm"),
    "mjpeg": ("avi", "mov"),
    "ffv1": ("mkv", "avi"),
    "gif": ("gif",),
}
IMAGES = (".jpg", ".png", ".webp")


class DamagedVideos:
    """The campaign.

    Args:
        folder: for the clips.
        kinds: codec and container of each video; all that are here unless given.
    """

    name, title, share = "videos", "videos of {codecs} codecs in {containers} containers", 20

    def __init__(self, folder: Path, kinds: list[tuple[str, str]] | None = None) -> None:
        self.folder = folder
        self.kinds = kinds or [(c, suffix) for c, suffixes in VIDEOS.items() for suffix in suffixes]
        self.whole = {kind: write(folder / "whole", *kind).read_bytes() for kind in self.kinds}
        self.title = self.title.format(
            codecs=len({codec for codec, _ in self.kinds}),
            containers=len({suffix for _, suffix in self.kinds}),
        )

    def clip(self, number: int, tally: Tally) -> Path:
        """The damaged file of a number."""
        kind = self.kinds[number % len(self.kinds)]
        path = self.folder / f"{number}.{kind[1]}"
        path.write_bytes(mutated((self.whole[kind],), damaged, tally.key(number)))
        return path

    def run(self, numbers: Iterable[int], tally: Tally) -> None:
        with Reader() as reader:
            for number in numbers:
                path = self.clip(number, tally)
                data = path.read_bytes() if path.is_file() else None
                tally.add(number, reader.read(path), data)
                shutil.rmtree(path) if path.is_dir() else path.unlink()


class DamagedFrames(DamagedVideos):
    """Folders of JPEG, PNG and WebP files, of which some are damaged."""

    name, title = "frames", "folders of JPEG, PNG and WebP files"

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.images = {suffix: write_image(folder / f"whole{suffix}") for suffix in IMAGES}

    def clip(self, number: int, tally: Tally) -> Path:
        suffix = IMAGES[number % len(IMAGES)]
        path = self.folder / f"{number}{suffix}"
        path.mkdir()
        rng = random.Random(tally.key(number))
        for frame in range(4):
            data = self.images[suffix]
            if rng.random() < 0.5:
                data = mutated((data,), damaged, f"{tally.key(number)} {frame}")
            (path / f"{frame}{suffix}").write_bytes(data)
        return path


def write(folder: Path, codec: str, suffix: str) -> Path:
    """A video of drawn pictures with two groups of pictures."""
    path = folder / f"{codec}.{suffix}"
    path.parent.mkdir(parents=True, exist_ok=True)
    apart(_encode, path, codec)
    return path


def _encode(path: Path, codec: str) -> None:
    with av.open(str(path), "w") as container:
        options = {"g": str(COUNT // 2), **QUIET.get(codec, {})}
        stream = container.add_stream(codec, rate=25, options=options)
        stream.height = stream.width = SIDE
        stream.pix_fmt = PIXELS.get(codec, "yuv420p")
        for number in range(COUNT):
            frame = av.VideoFrame.from_ndarray(picture(number, SIDE, SIDE), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def write_image(path: Path) -> bytes:
    """A picture in the format of the name's end."""
    Image.fromarray(picture(0, SIDE, SIDE)).save(path, quality=90)
    return path.read_bytes()


class Reader:
    """The process that reads, and the next one where it has ended."""

    def __enter__(self) -> Reader:
        self.process: subprocess.Popen[str] | None = None
        return self

    def __exit__(self, *_: object) -> None:
        self._end()

    def read(self, path: Path) -> Verdict:
        """What became of a clip."""
        if self.process is None:
            self.process = self._start()
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(str(path)) + "\n")
        self.process.stdin.flush()
        # The first one waits for the imports too.
        ready, _, _ = select.select([self.process.stdout], [], [], PATIENCE + SECONDS)
        line = self.process.stdout.readline() if ready else ""
        if line:
            return Verdict(**json.loads(line))
        if not ready:
            self._end()
            return Verdict(False, "the process hangs", str(path), PATIENCE + SECONDS)
        code = self.process.wait()
        said = self.process.stderr.read() if self.process.stderr else ""
        self.process = None
        return Verdict(False, f"the process ended with {code}", said)

    def _start(self) -> subprocess.Popen[str]:
        paths = os.pathsep.join((str(ROOT / "tests"), str(ROOT)))
        return subprocess.Popen(
            [sys.executable, "-m", "faults.read_clips", str(MEMORY), str(SECONDS)],
            env=os.environ | {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def _end(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.communicate()
            self.process = None
