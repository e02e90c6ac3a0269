"""``python -m benchmarks.data_loading``: clips a second from files, beside other loaders.

All read the same files with the same draws of frames and augmentation, on the same number of
workers, in turns, in one run; that they give the same pictures is checked first. Beside ours:

- PIL: a DataLoader that decodes, crops, resizes and brightens each frame of a folder with Pillow,
  as the published program and most of the field do.
- decord, torchcodec: a DataLoader that takes the sampled frames of a video from them, and our
  augmentation. They are measured where they are installed.
- dali: our loader with the decoder DALI, of what it can decode on the device.

The clips are drawn faces with camera noise; frames are 256 x 256 as JPEG, as the face crops of the
datasets are, and 224 x 224 or 1280 x 720 as video.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import itertools
import tempfile
from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import av
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageEnhance

from benchmarks.measure.record import RESULTS, interleaved, write
from peclip_fast.config.data import DataConfig
from peclip_fast.data.loading.dataset import ClipDataset
from peclip_fast.data.loading.loader import make_loader
from peclip_fast.data.randomness import derived_generator
from peclip_fast.data.records import ClipRecord
from peclip_fast.data.transforms.augment import ClipTransform, apply_transform
from peclip_fast.demo.animate import draw_film, one_expression, play
from peclip_fast.demo.identity import Identity
from peclip_fast.demo.units import EXPRESSIONS
from peclip_fast.errors import InputError

FILES, FRAMES, IMAGE_SIZE, BATCH = 8, 64, 224, 8
# Of each file in an epoch, so that its beginning and end weigh little.
REPEATS = {"224": 4, "720p": 2}
LARGEST = 256  # pixels, of a drawn face; larger ones are stretched
Frames = NDArray[np.uint8]

# Side of the drawn face, height and width; suffix, FFmpeg's encoder and its options. Key frames
# come as the encoders' defaults have it, every 250 frames or less.
SIZES = {"224": (224, (224, 224)), "720p": (720, (720, 1280))}
ENCODERS: dict[str, tuple[str, str, dict[str, str]]] = {
    "H.264": (".mp4", "libx264", {"preset": "veryfast"}),
    "VP9": (".webm", "libvpx-vp9", {"deadline": "realtime", "cpu-used": "8"}),
    "MJPEG": (".mkv", "mjpeg", {}),
}
VIDEOS = {
    f"{codec} {size}": (*SIZES[size], *encoder)
    for size in SIZES
    for codec, encoder in ENCODERS.items()
}
FOLDER = "JPEG folder"
NEAR = 2.0  # grey levels, mean over a clip, by which two decoders may differ


# --- The files -----------------------------------------------------------------------------------


def drawn(number: int, side: int) -> Frames:
    rng = np.random.default_rng(number)
    units = list(EXPRESSIONS.values())[number % len(EXPRESSIONS)]
    phases, small = one_expression(units, rng), min(side, LARGEST)
    frames = draw_film(play(Identity.numbered(number), phases, FRAMES, rng), small, rng)
    if small == side:
        return frames
    return np.stack([np.asarray(Image.fromarray(f).resize((side, side))) for f in frames])


def write_clip(kind: str, folder: Path, number: int) -> Path:
    if kind == FOLDER:
        path = folder / f"{number:05d}"
        path.mkdir()
        for index, frame in enumerate(drawn(number, 256)):
            Image.fromarray(frame).save(path / f"{index + 1:05d}.jpg", quality=95)
        return path
    side, (height, width), suffix, codec, options = VIDEOS[kind]
    beside = (width - side) // 2
    path = folder / f"{number:05d}{suffix}"
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25, options=options)
        stream.height, stream.width = height, width
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        stream.bit_rate = 10 * height * width  # 0.5 Mbit/s at 224, 9 at 720p
        for frame in drawn(number, side):
            whole = np.pad(frame, ((0, 0), (beside, beside), (0, 0)), mode="reflect")
            container.mux(stream.encode(av.VideoFrame.from_ndarray(whole, format="rgb24")))
        container.mux(stream.encode())
    return path


# --- The loaders ---------------------------------------------------------------------------------


class PilClips(ClipDataset):
    """Frame by frame with Pillow."""

    def load(self, index: int, epoch: int = 0) -> dict[str, Any]:
        record = self.records[index]
        generator = derived_generator(self.seed, epoch, index)
        names = sorted(record.path.iterdir())
        images = [
            Image.open(names[number]).convert("RGB")
            for number in self.draw_frames(len(names), generator)
        ]
        transform = self.draw_transform(images[0].height, images[0].width, generator)
        frames = np.stack([self._transformed(image, transform) for image in images])
        return {
            "frames": torch.from_numpy(frames).permute(0, 3, 1, 2),
            "label": record.label,
            "index": index,
        }

    def _transformed(self, image: Image.Image, transform: ClipTransform) -> Frames:
        box = (
            transform.left,
            transform.top,
            transform.left + transform.width,
            transform.top + transform.height,
        )
        size = (self.image_size, self.image_size)
        image = image.crop(box).resize(size, Image.Resampling.BILINEAR)
        if transform.flip:
            image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        return np.asarray(ImageEnhance.Brightness(image).enhance(transform.brightness))


class VideoClips(ClipDataset):
    """Chosen frames from another library's decoder, then our augmentation."""

    def __init__(self, opened: Callable[[Path], Any], *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.opened = opened

    def load(self, index: int, epoch: int = 0) -> dict[str, Any]:
        record = self.records[index]
        generator = derived_generator(self.seed, epoch, index)
        num_frames, read = self.opened(record.path)
        frames = read(self.draw_frames(num_frames, generator))
        transform = self.draw_transform(frames.shape[1], frames.shape[2], generator)
        return {
            "frames": apply_transform(frames, transform, self.image_size),
            "label": record.label,
            "index": index,
        }


def open_decord(path: Path) -> tuple[int, Callable[[Sequence[int]], Frames]]:
    import decord  # type: ignore[import-not-found]

    reader = decord.VideoReader(str(path), num_threads=1)
    return len(reader), lambda indices: reader.get_batch(indices).asnumpy()


def open_torchcodec(path: Path) -> tuple[int, Callable[[Sequence[int]], Frames]]:
    from torchcodec.decoders import VideoDecoder  # type: ignore[import-not-found]

    decoder = VideoDecoder(str(path), dimension_order="NHWC", num_ffmpeg_threads=1)
    return len(decoder), lambda indices: decoder.get_frames_at(list(indices)).data.numpy()


OTHERS = {"decord": open_decord, "torchcodec": open_torchcodec}


def datasets(kind: str, records: list[ClipRecord], config: DataConfig) -> dict[str, ClipDataset]:
    """All loaders' datasets by name, ours first."""
    common = {"records": records, "config": config, "image_size": IMAGE_SIZE, "train": True}
    found = {"ours": ClipDataset(**common)}
    if kind == FOLDER:
        return found | {"PIL": PilClips(**common)}
    return found | {
        name: VideoClips(opened, **common) for name, opened in OTHERS.items() if find_spec(name)
    }


# --- Measuring -----------------------------------------------------------------------------------


def epochs(dataset: ClipDataset, device: torch.device) -> Generator[None, None, None]:
    """Each step reads every clip once; what an epoch draws is the same for all loaders."""
    loader = make_loader(dataset, BATCH, device=device)
    try:
        for epoch in itertools.count():
            loader.set_epoch(epoch)
            clips = sum(len(batch["label"]) for batch in loader)
            assert clips == len(dataset), f"{clips} of {len(dataset)} clips"
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            yield
    finally:
        loader.close()


def difference(ours: ClipDataset, other: ClipDataset) -> float:
    """Largest mean difference of a clip between two datasets' frames, in grey levels."""
    clips = range(0, FILES, 3)
    pairs = ((ours.load(i)["frames"].float(), other.load(i)["frames"].float()) for i in clips)
    return max((a - b).abs().mean().item() for a, b in pairs)


def measure(
    kind: str, folder: Path, workers: int, seconds: float, device: torch.device
) -> Iterable[dict[str, Any]]:
    folder.mkdir()
    paths = [write_clip(kind, folder, number) for number in range(FILES)]
    records = [ClipRecord(path, 0) for path in paths * REPEATS.get(kind.split()[-1], 4)]
    size = sum(
        file.stat().st_size
        for path in paths
        for file in ([path] if path.is_file() else path.iterdir())
    )
    config = DataConfig(num_workers=workers, decoder="pyav")
    able = datasets(kind, records, config)
    differences = {}
    for name, dataset in able.items():
        differences[name] = difference(able["ours"], dataset)
        if differences[name] > NEAR:
            raise SystemExit(
                f"{kind}: {name} gives other frames, by {differences[name]:.1f} levels"
            )
    if find_spec("nvidia.dali"):
        able["dali"] = ClipDataset(records, replace(config, decoder="dali"), IMAGE_SIZE, True)
    runs = {}
    with contextlib.ExitStack() as stack:
        for name, dataset in able.items():
            steps = stack.enter_context(contextlib.closing(epochs(dataset, device)))
            try:
                next(steps)
            except InputError as error:
                yield {"files": kind, "loader": name, "not_run": str(error)}
                continue
            runs[name] = functools.partial(next, steps)
        times = interleaved(runs, torch.device("cpu"), seconds)
    for name, time in times.items():
        yield {
            "files": kind,
            "loader": name,
            "workers": workers,
            "bytes_per_frame": size / FILES / FRAMES,
            "epoch_ms": time["median_ms"],
            "epochs": time["runs"],
            "clips_per_s": 1e3 * len(records) / time["median_ms"],
            "frames_per_s": 1e3 * len(records) * config.frames / time["median_ms"],
            "difference": differences.get(name),
            "ours_is_times_faster": time["median_ms"] / times["ours"]["median_ms"],
        }


def line(row: dict[str, Any]) -> str:
    text = f"{row['files']:<12}{row['loader']:<12}"
    if "not_run" in row:
        return text + row["not_run"]
    return (
        f"{text}{row['frames_per_s']:>8.0f} frames/s{row['clips_per_s']:>8.1f} clips/s"
        f"   ours is {row['ours_is_times_faster']:.2f} times as fast"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=20.0, help="per kind of file")
    parser.add_argument("--files", nargs="+", default=[FOLDER, *VIDEOS], choices=[FOLDER, *VIDEOS])
    parser.add_argument("--output", type=Path, default=RESULTS)
    options = parser.parse_args()
    device = torch.device(options.device)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for kind in options.files:
            place = Path(folder) / kind
            for row in measure(kind, place, options.workers, options.seconds, device):
                rows.append(row)
                print(line(row), flush=True)
    print(write("data_loading", device, rows, options.output))


if __name__ == "__main__":
    main()
