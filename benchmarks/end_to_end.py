"""``python -m benchmarks.end_to_end``: from files to a trained step, and to probabilities.

The same clips, drawn faces, for both programs, as many clips a batch and workers, in turns of whole
passes over the clips, so that neither loads ahead while the other computes:

- reference: the reference implementation in float32 behind a DataLoader that reads each frame with
  Pillow, as the published program does. It has no reader of videos; here PyAV decodes them from the
  start for it, and the rest is the same.
- ours: the package's model behind the package's loader.

That both loaders give the same pictures, and both models the same logits of one clip's frames, is
checked first. A step ends when its loss or its probabilities have been read, so what a program
waits for then is the next batch; ``waited_share`` is that part of a pass.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import av
import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from benchmarks import pe_clip
from benchmarks.data_loading import FOLDER, NEAR, PilClips, write_clip
from benchmarks.measure.record import RESULTS, interleaved, write
from peclip_fast.config.data import DataConfig
from peclip_fast.data.loading.dataset import ClipDataset
from peclip_fast.data.loading.loader import make_loader
from peclip_fast.data.randomness import derived_generator
from peclip_fast.data.records import ClipRecord

KINDS = ("train step", "inference")
FILES = {FOLDER: FOLDER, "H.264": "H.264 224"}
Step = Callable[[Tensor, Tensor], object]
Models = dict[str, tuple[nn.Module, pe_clip.Program]]


class PilVideo(PilClips):
    """Pillow's frames of a video that is decoded from its start to the last frame needed."""

    def load(self, index: int, epoch: int = 0) -> dict[str, Any]:
        record = self.records[index]
        generator = derived_generator(self.seed, epoch, index)
        with av.open(str(record.path)) as container:
            wanted = self.draw_frames(container.streams.video[0].frames, generator)
            decoded = itertools.islice(container.decode(video=0), max(wanted) + 1)
            images: dict[int, Image.Image] = {
                number: frame.to_image() for number, frame in enumerate(decoded) if number in wanted
            }
        first = images[wanted[0]]
        transform = self.draw_transform(first.height, first.width, generator)
        frames = np.stack([self._transformed(images[number], transform) for number in wanted])
        return {
            "frames": torch.from_numpy(frames).permute(0, 3, 1, 2),
            "label": record.label,
            "index": index,
        }


class Passes:
    """Each call takes every clip through the program once; the times it waited are kept."""

    def __init__(self, dataset: ClipDataset, batch: int, device: torch.device, step: Step) -> None:
        self.device, self.step = device, step
        self.loader = make_loader(dataset, batch, device=device)
        self.epoch = 0
        self.shares: list[float] = []

    def __call__(self) -> None:
        self.loader.set_epoch(self.epoch)
        self.epoch += 1
        self.shares.append(waited_share(self.loader, self._one))

    def _one(self, batch: Mapping[str, Any]) -> None:
        frames = batch["frames"].to(self.device, non_blocking=True)
        self.step(frames, batch["label"].to(self.device))

    def close(self) -> None:
        self.loader.close()


def waited_share(batches: Iterable[Any], step: Callable[[Any], object]) -> float:
    """The part of the whole time in which the next batch was waited for."""
    start = time.perf_counter()
    waited, mark = 0.0, start
    for batch in batches:
        waited += time.perf_counter() - mark
        step(batch)
        mark = time.perf_counter()
    end = time.perf_counter()
    return (waited + end - mark) / (end - start)


def make_step(
    what: str, model: nn.Module, program: pe_clip.Program, batch: int, device: torch.device
) -> Step:
    """A step that ends when the host has its result."""
    if what == "inference":
        infer = torch.no_grad()(lambda frames: program(frames).float().softmax(-1))
        model.eval()
        return lambda frames, labels: infer(frames).cpu()
    held = torch.zeros(batch, dtype=torch.int64, device=device)
    train = pe_clip.train_step(model, program, held)

    def step(frames: Tensor, labels: Tensor) -> object:
        held.copy_(labels)
        return train(frames).item()

    return step


def make_records(files: str, folder: Path, clips: int) -> list[ClipRecord]:
    """At most 8 files, read again and again, from memory as those of a small dataset are."""
    folder.mkdir()
    drawn = [write_clip(FILES[files], folder, number) for number in range(min(clips, 8))]
    return [
        ClipRecord(path, number % len(pe_clip.CLASSES))
        for number, path in zip(range(clips), itertools.cycle(drawn), strict=False)
    ]


def datasets(kind: str, records: list[ClipRecord], **common: Any) -> dict[str, ClipDataset]:
    theirs = PilClips if kind == FOLDER else PilVideo
    return {"reference": theirs(records, **common), "ours": ClipDataset(records, **common)}


def check_pictures(loaders: Mapping[str, ClipDataset]) -> float:
    """How many grey levels a clip of the two loaders differs by, if they are few; or SystemExit."""
    theirs, ours = (loaders[name].load(0)["frames"].float() for name in ("reference", "ours"))
    levels = (ours - theirs).abs().mean().item()
    if levels > NEAR:
        raise SystemExit(f"the loaders give other pictures, by {levels:.1f} levels")
    return levels


def make_models(options: argparse.Namespace, frames: Tensor) -> Models:
    """Both programs, after checking that they give the same logits for a clip's frames."""
    able = pe_clip.programs(options.backbone, options.dtype, options.device)
    models = {name: able[name]() for name in ("reference", "ours")}
    logits = {}
    for name, (model, program) in models.items():
        model.to(options.device)
        with torch.no_grad():
            logits[name] = program(frames[None].to(options.device)).float()
    pe_clip.check(logits, options.dtype)
    return models


def measure(
    options: argparse.Namespace,
    what: str,
    files: str,
    models: Models,
    loaders: Mapping[str, ClipDataset],
) -> list[dict[str, Any]]:
    """A row per program."""
    device, batch, clips = torch.device(options.device), options.batch, len(loaders["ours"])
    levels = check_pictures(loaders)
    with contextlib.ExitStack() as stack:
        passes = {}
        for name, dataset in loaders.items():
            step = make_step(what, *models[name], batch, device)
            passes[name] = Passes(dataset, batch, device, step)
            stack.callback(passes[name].close)
        # Each step ends on the host, so the host's clock serves for a GPU too.
        times = interleaved(passes, torch.device("cpu"), options.seconds)
    rows = []
    for name, time_of in times.items():
        passed = time_of["median_ms"]
        rows.append({
            "what": what, "program": name, "files": files, "backbone": options.backbone,
            "frames": options.frames, "clips": batch, "workers": options.workers,
            "dtype": "fp32" if name == "reference" else options.dtype,
            "median_ms": passed * batch / clips, "passes": time_of["runs"],
            "clips_per_s": 1e3 * clips / passed,
            "waited_share": statistics.median(passes[name].shares[-time_of["runs"]:]),
            "times_faster_than": {
                other: times[other]["median_ms"] / passed for other in times if other != name
            },
            "pictures_differ_by": levels,
        })  # fmt: skip
        print(line(rows[-1]), flush=True)
    return rows


def line(row: dict[str, Any]) -> str:
    return (
        f"{row['what']:<11}{row['files']:<12}{row['program']:<10}{row['median_ms']:>9.1f} ms a step"
        f"{row['clips_per_s']:>8.2f} clips/s  waited {row['waited_share']:.0%}"
        + "".join(f"  {ratio:.2f}x {other}" for other, ratio in row["times_faster_than"].items())
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--backbone", default="ViT-B-16-quickgelu")
    parser.add_argument("--dtype", default="bf16", choices=list(pe_clip.NEAR), help="of ours")
    parser.add_argument("--frames", type=int, default=pe_clip.FRAMES)
    parser.add_argument("--batch", type=int, default=None, help="clips; 8 on a GPU, else 2")
    parser.add_argument("--batches", type=int, default=None, help="of a pass; 16 on a GPU, else 4")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--what", nargs="+", default=KINDS, choices=KINDS)
    parser.add_argument("--files", nargs="+", default=list(FILES), choices=list(FILES))
    parser.add_argument("--seconds", type=float, default=60.0, help="per kind of work and file")
    parser.add_argument("--output", type=Path, default=RESULTS)
    options = parser.parse_args()
    gpu = options.device != "cpu"
    options.batch = options.batch or (8 if gpu else 2)
    clips = options.batch * (options.batches or (16 if gpu else 4))
    common = {
        "config": DataConfig(num_workers=options.workers, frames=options.frames, decoder="pyav"),
        "image_size": pe_clip.image_size(options.backbone),
    }
    models: Models = {}
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for files in options.files:
            records = make_records(files, Path(folder) / files, clips)
            for what in options.what:
                loaders = datasets(files, records, train=what == "train step", **common)
                models = models or make_models(options, loaders["ours"].load(0)["frames"])
                rows += measure(options, what, files, models, loaders)
    print(write("end_to_end", torch.device(options.device), rows, options.output))


if __name__ == "__main__":
    main()
