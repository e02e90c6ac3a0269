"""``python -m benchmarks.packing``: the forms that ``data pack`` could write, read as in training.

Sixteen random frames of each clip through our clip sources, on one core, in turns, the files in
memory and the clips known to the clip index. Clips are drawn ones, and parts of the videos of
``--videos``; larger frames are made smaller to each of ``--sides``.
"""

from __future__ import annotations

import argparse
import functools
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import av
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from benchmarks.data_loading import drawn
from benchmarks.measure.record import RESULTS, interleaved, write
from peclip_fast.data.decoding.clip_source import open_clip_source
from peclip_fast.data.decoding.jpeg import encode_jpeg
from peclip_fast.data.decoding.packed_file import packed_file
from peclip_fast.data.decoding.video_file import VideoFile
from peclip_fast.data.transforms.sampling import sample_indices

TAKEN, CLIP_FRAMES, CLIPS, QUALITY = 16, 118, 4, 90
DRAWN = 256  # side of the drawn clips
GROUPS = (1, 4, 8, 16, 250)  # frames from one key frame to the next
CPU = torch.device("cpu")

Frames = list[NDArray[np.uint8]]


def real(video: Path, side: int) -> Iterator[Frames]:
    """Parts of a video, each as long as a clip."""
    part: Frames = []
    for frame in open_clip_source(video).frames():
        scale = side / min(frame.shape[:2])
        height, width = (2 * round(n * scale / 2) for n in frame.shape[:2])
        part.append(np.asarray(Image.fromarray(frame).resize((width, height))))
        if len(part) == CLIP_FRAMES:
            yield part
            part = []


def write_jpegs(path: Path, frames: Frames) -> Path:
    path.mkdir()
    for number, frame in enumerate(frames):
        (path / f"{number:05d}.jpg").write_bytes(encode_jpeg(frame, QUALITY))
    return path


def write_packed(path: Path, frames: Frames) -> Path:
    path = path.with_suffix(".mkv")
    jpegs = [encode_jpeg(frame, QUALITY) for frame in frames]
    path.write_bytes(packed_file(jpegs, frames[0].shape[:2], range(0, 40 * len(frames), 40), {}))
    return path


def write_h264(path: Path, frames: Frames, group: int) -> Path:
    path = path.with_suffix(".mp4")
    options = {"crf": "18", "g": str(group), "preset": "veryfast"}
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options=options)
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    return path


FORMS: dict[str, Callable[[Path, Frames], Path]] = {
    "JPEG folder": write_jpegs,
    "JPEG in Matroska": write_packed,
} | {
    f"H.264, a key frame in {group}": functools.partial(write_h264, group=group)
    for group in GROUPS
}  # fmt: skip
BY_FFMPEG = "JPEG in Matroska, FFmpeg's decoder"


def read(paths: list[Path]) -> None:
    for path in paths:
        source = open_clip_source(path)
        assert len(source.read(sample_indices(source.num_frames, TAKEN, train=True))) == TAKEN
        source.close()


def read_by_ffmpeg(paths: list[Path]) -> None:
    with mock.patch.object(VideoFile, "_holds_jpegs", return_value=False):
        read(paths)


def psnr(paths: list[Path], clips: list[Frames]) -> float:
    """Of the frames that are read against those that were written, in dB."""
    errors = []
    for path, frames in zip(paths, clips, strict=True):
        indices = list(range(0, len(frames), 7))
        found = open_clip_source(path).read(indices).astype(np.float32)
        errors.append(np.square(found - np.stack([frames[k] for k in indices])).mean())
    return float(10 * np.log10(255**2 / np.mean(errors)))


def measure(material: str, clips: list[Frames], seconds: float) -> Iterator[dict[str, Any]]:
    height, width = clips[0][0].shape[:2]
    total = sum(map(len, clips))
    with tempfile.TemporaryDirectory() as folder:
        paths: dict[str, list[Path]] = {}
        for form, writer in FORMS.items():
            place = Path(folder) / form
            place.mkdir()
            paths[form] = [writer(place / str(k), frames) for k, frames in enumerate(clips)]
        runs = {form: functools.partial(read, files) for form, files in paths.items()}
        runs[BY_FFMPEG] = functools.partial(read_by_ffmpeg, paths["JPEG in Matroska"])
        times = interleaved(runs, CPU, seconds)
        for form, time in times.items():
            files = paths.get(form, paths["JPEG in Matroska"])
            size = sum(
                f.stat().st_size for p in files for f in (p.iterdir() if p.is_dir() else [p])
            )
            yield {
                "material": material, "height": height, "width": width, "form": form,
                "frames_per_s": 1e3 * TAKEN * len(clips) / time["median_ms"],
                "bytes_per_frame": size / total, "psnr_db": psnr(files, clips), **time,
            }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--videos", type=Path, nargs="*", default=[])
    parser.add_argument("--sides", type=int, nargs="+", default=[256, 360, 720])
    parser.add_argument("--seconds", type=float, default=20.0, help="per material and side")
    parser.add_argument("--output", type=Path, default=RESULTS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    material = {"drawn": [list(drawn(number, DRAWN)) for number in range(CLIPS)]}
    for side in options.sides if options.videos else []:
        clips = [clip for video in options.videos for clip in real(video, side)]
        material[f"real {side}"] = clips[:CLIPS]
    rows = []
    for name, clips in material.items():
        for row in measure(name, clips, options.seconds):
            rows.append(row)
            print(
                f"{row['material']:<10}{row['width']}x{row['height']}  {row['form']:<36}"
                f"{row['frames_per_s']:>7.0f} frames/s{row['bytes_per_frame'] / 1e3:>7.1f} kB"
                f"{row['psnr_db']:>6.1f} dB",
                flush=True,
            )
    print(write("packing", CPU, rows, options.output))


if __name__ == "__main__":
    main()
