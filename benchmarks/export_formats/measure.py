"""``python -m benchmarks.export_formats``: exported files against their models, and their times.

Each method's model, with all of its trained tensors moved off their starting values, is exported as
ONNX, PyTorch and OpenVINO files. Each file gets the same clips in batches of 1, 3 and 8: noise, and
pieces of real videos. The largest difference of a probability from the model's is kept, and the
benchmark ends where one is above the bound of `peclip-fast export`. Then all are timed in turns.
"""

from __future__ import annotations

import argparse
import itertools
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.measure.record import RESULTS, interleaved, write
from peclip_fast import create_model
from peclip_fast.config.data import DataConfig, MixConfig
from peclip_fast.config.run import RunConfig
from peclip_fast.data.decoding.clip_source import open_clip_source
from peclip_fast.data.transforms.augment import apply_transform, centre_transform
from peclip_fast.data.transforms.sampling import sample_indices
from peclip_fast.export.export import BOUND, export_model, random_batch
from peclip_fast.export.formats import FORMATS, read_exported
from peclip_fast.export.program import ClassProbabilities
from peclip_fast.models.adapted_clip import AdaptedCLIP
from peclip_fast.registry import CONFIGS, METHODS

VIDEOS = Path(__file__).parents[2] / "tests" / "assets" / "videos"
BATCHES = (1, 3, 8)
MODEL = "the model"
Run = Callable[[Sequence[Tensor]], Tensor]


def moved_model(method: str, backbone: str, frames: int) -> tuple[AdaptedCLIP, RunConfig]:
    """A model that has learned something, if only noise, and the configuration of its run."""
    few = {"prompt_depth": 4}  # as many as the demo's backbone has blocks
    options = {name: n for name, n in few.items() if hasattr(CONFIGS[method], name)}
    model = create_model(method, backbone, **options).eval()
    generator = torch.Generator().manual_seed(0)
    for parameter in model.trained_parameters().values():
        noise = torch.randn(parameter.shape, generator=generator)
        parameter.data.add_(0.1 * parameter.data.std().nan_to_num(0).clamp(0.05) * noise)
    data = DataConfig("folder", VIDEOS, frames=frames, mix=MixConfig(mixup=0, fmix=0),
                      cues=VIDEOS, descriptions=VIDEOS)  # fmt: skip
    return model, RunConfig(model.config, data)


def real_frames(clips: int, frames: int, size: int) -> Tensor:
    """Pieces of equal length of the videos, as testing takes them: uint8 (N, T, 3, size, size)."""
    videos = sorted(VIDEOS.glob("*.mp4"))
    found = []
    for video in videos:
        source = open_clip_source(video)
        try:
            pieces = -(-clips // len(videos))
            length = source.num_frames // pieces
            for piece in range(pieces):
                taken = [piece * length + k for k in sample_indices(length, frames, False, None)]
                images = source.read(taken)
                transform = centre_transform(*images.shape[1:3])
                found.append(apply_transform(images, transform, size))
        finally:
            source.close()
    return torch.stack(found[:clips]).contiguous()


def inputs_of(
    model: AdaptedCLIP, config: RunConfig, clips: int, real: Tensor | None
) -> list[Tensor]:
    """The model's inputs for so many clips; cues of real clips are their frames' negative."""
    batch = random_batch(model, config, clips, torch.Generator().manual_seed(clips))
    if real is None:
        return batch
    return [
        tensor if name == "descriptions" else real if name == "frames" else 255 - real
        for name, tensor in zip(model.inputs, batch, strict=True)
    ]


def in_batches(given: Sequence[Tensor], size: int) -> Iterator[list[Tensor]]:
    return (list(part) for part in zip(*(tensor.split(size) for tensor in given), strict=True))


def largest_difference(run: Run, expected: Tensor, given: Sequence[Tensor]) -> float:
    """Of a probability, over batches of all sizes."""
    return max(
        (torch.cat([run(batch) for batch in in_batches(given, size)]) - expected)
        .abs().max().nan_to_num(1.0).item()
        for size in BATCHES
    )  # fmt: skip


def runs_of(model: AdaptedCLIP, config: RunConfig, folder: Path) -> dict[str, Run]:
    """The model, and each of its files."""
    whole = ClassProbabilities(model).eval()
    runs: dict[str, Run] = {MODEL: lambda batch: whole(*batch)}

    def of(path: Path) -> Run:
        _, run = read_exported(path)
        return lambda batch: torch.from_numpy(run([tensor.numpy() for tensor in batch]))

    for kind, form in FORMATS.items():
        path = folder / f"{config.model.method}{form.suffix}"
        export_model(model, config, kind, path)
        runs[kind] = of(path)
    return runs


@torch.no_grad()
def measure(
    method: str, backbone: str, frames: int, clips: tuple[int, int], seconds: float
) -> list[dict[str, Any]]:
    """A row for the model and each of its files."""
    model, config = moved_model(method, backbone, frames)
    kinds = {
        "random": inputs_of(model, config, clips[0], None),
        "real": inputs_of(model, config, clips[1], real_frames(clips[1], frames, model.image_size)),
    }
    with tempfile.TemporaryDirectory() as folder:
        runs = runs_of(model, config, Path(folder))
        rows: dict[str, dict[str, Any]] = {
            name: {"method": model.title, "program": name} for name in runs
        }
        for (kind, given), (name, run) in itertools.product(kinds.items(), runs.items()):
            if name == MODEL:
                expected = torch.cat([run(batch) for batch in in_batches(given, max(BATCHES))])
                continue
            rows[name][kind] = largest = largest_difference(run, expected, given)
            if largest > BOUND:
                raise SystemExit(f"{method}, {name}: differs by {largest:.1e} on {kind} clips")
        for size in BATCHES:
            batch = [tensor[:size].contiguous() for tensor in kinds["random"]]
            timed = interleaved(
                {name: lambda run=run, batch=batch: run(batch) for name, run in runs.items()},
                torch.device("cpu"), seconds,
            )  # fmt: skip
            for name, found in timed.items():
                rows[name][f"median_ms_{size}"] = found["median_ms"]
    for row in rows.values():
        print(row, flush=True)
    return list(rows.values())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--methods", nargs="+", default=list(METHODS.built_in()))
    parser.add_argument("--backbone", default="demo")
    parser.add_argument("--frames", type=int, default=8)
    parser.add_argument("--random", type=int, default=100)
    parser.add_argument("--real", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=2.0, help="of timing, for a batch's size")
    parser.add_argument("--output", type=Path, default=RESULTS)
    options = parser.parse_args()
    clips = options.random, options.real
    rows = [
        row
        for method in options.methods
        for row in measure(method, options.backbone, options.frames, clips, options.seconds)
    ]
    facts = {"backbone": options.backbone, "frames": options.frames,
             "random_clips": options.random, "real_clips": options.real}  # fmt: skip
    print(write("export_formats", torch.device("cpu"), rows, options.output, **facts))
