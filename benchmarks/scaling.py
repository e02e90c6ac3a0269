"""``python -m benchmarks.scaling``: how the cost grows with frames, clips and the backbone.

Three sweeps that share their middle: T frames of one clip, clips of the published 16 frames, and
one such clip on larger backbones; inference and train step, of our program and the reference
implementation. That they compute the same is checked first, on one clip for each backbone.

The exponent of the time against frames, clips, or the counted operations (benchmarks/flops.py) is
the slope of a line through the logarithms, by least squares. A size that a program would need
longer for than ``--most-seconds`` a run, going by its last smaller size and the operations, is left
out for that program; the JSON and the output name it.
"""

from __future__ import annotations

import argparse
import functools
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from benchmarks import pe_clip
from benchmarks.measure.flops import gflop
from benchmarks.measure.record import RESULTS, interleaved, write
from peclip_fast import create_model

BACKBONES = ("ViT-B-32-quickgelu", "ViT-B-16-quickgelu", "ViT-L-14-quickgelu")
FRAMES, CLIPS = (4, 8, 16, 32, 64), (1, 2, 4, 8, 16, 32, 64)
KINDS = ("inference", "train step")


class Size(NamedTuple):
    backbone: str
    frames: int
    clips: int


def make_frames(clips: int, frames: int, side: int, device: torch.device) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    shape = (clips, frames, 3, side, side)
    return torch.randint(256, shape, dtype=torch.uint8, generator=generator).to(device)


def exponent(sizes: Sequence[float], times: Sequence[float]) -> float | None:
    """p in time ~ size^p by least squares on the logarithms; None for less than two sizes."""
    if len(set(sizes)) < 2:
        return None
    x, y = ([math.log(value) for value in values] for values in (sizes, times))
    middle, height = sum(x) / len(x), sum(y) / len(y)
    rise = sum((a - middle) * (b - height) for a, b in zip(x, y, strict=True))
    return rise / sum((a - middle) ** 2 for a in x)


def predicted(last: Mapping[str, Any], operations: float) -> float:
    """Seconds of a size of so many operations, from a smaller size's row."""
    return float(1e-3 * last["median_ms"] * operations / last["gflop"])


def check(
    models: Mapping[str, tuple[nn.Module, pe_clip.Program]], frames: Tensor, dtype: str
) -> None:
    """SystemExit unless all give the same logits for one clip; with more the reference leaks."""
    with torch.no_grad():
        logits = {name: program(frames).float() for name, (_, program) in models.items()}
    true = logits.get("reference", next(iter(logits.values())))
    for name, given in logits.items():
        if not (error := (given - true).abs().max().item()) <= pe_clip.NEAR[dtype]:
            raise SystemExit(f"{name} gives other logits, by {error}")


class Bench:
    """Measures sizes, each once."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.device = torch.device(options.device)
        self.done: dict[tuple[str, Size], list[dict[str, Any]]] = {}
        self.left_out: list[dict[str, Any]] = []
        self.backbone = ""
        self.models: dict[str, tuple[nn.Module, pe_clip.Program]] = {}

    def rows(self, what: str, size: Size) -> list[dict[str, Any]]:
        """A row per program that ran this size."""
        if (what, size) not in self.done:
            if self.backbone != size.backbone:
                self._load(size.backbone)
            self.done[what, size] = self._measure(what, size)
        return self.done[what, size]

    def _load(self, backbone: str) -> None:
        self.models.clear()  # before the next ones take memory
        able = pe_clip.programs(backbone, self.options.dtype, self.device.type)
        for name, make in pe_clip.chosen(able, self.options.programs).items():
            self.models[name] = make()
            self.models[name][0].to(self.device)
        self.backbone = backbone
        with torch.device("meta"):
            self.shape = create_model(backbone=backbone, classes=pe_clip.CLASSES)
        length, side = self.options.frames_of_clips, self.shape.image_size
        check(self.models, make_frames(1, length, side, self.device), self.options.dtype)

    def _measure(self, what: str, size: Size) -> list[dict[str, Any]]:
        work = gflop(self.shape, size.frames, size.clips, what == "train step")
        runs = {}
        for name in self.models:
            why = self._why_not(what, name, work)
            if why is None:
                runs[name] = self._run(what, size, name)
                why = self._why_too_large(runs[name])
            if why is not None:
                runs.pop(name, None)
                self.left_out.append({"what": what, **size._asdict(), "program": name, "why": why})
                print(line(self.left_out[-1]) + f"left out: {why}", flush=True)
        times = interleaved(runs, self.device, self.options.seconds) if runs else {}
        rows = []
        for name, time in times.items():
            dtype = "fp32" if name == "reference" else self.options.dtype
            row = {"what": what, **size._asdict(), "program": name, "dtype": dtype, **time}
            row |= {"gflop": work, "gflop_per_s": 1e3 * work / time["median_ms"]}
            rows.append(row)
            print(line(row), flush=True)
        return rows

    def _run(self, what: str, size: Size, name: str) -> Callable[[], object]:
        frames = make_frames(size.clips, size.frames, self.shape.image_size, self.device)
        model, program = self.models[name]
        if what == "inference":
            return functools.partial(pe_clip.infer(model, program), frames)
        labels = torch.arange(size.clips, device=self.device) % len(pe_clip.CLASSES)
        return functools.partial(pe_clip.train_step(model, program, labels), frames)

    def _why_not(self, what: str, name: str, work: float) -> str | None:
        """Going by the largest smaller size that ran."""
        smaller = [
            row
            for rows in self.done.values()
            for row in rows
            if (row["what"], row["program"]) == (what, name) and row["gflop"] < work
        ]
        if not smaller:
            return None
        seconds = predicted(max(smaller, key=lambda row: row["gflop"]), work)
        most = self.options.most_seconds
        return f"predicted {seconds:.1f} s a run, allowed {most:g}" if seconds > most else None

    def _why_too_large(self, run: Callable[[], object]) -> str | None:
        """Only a GPU says so; on a CPU the time is used up before the memory is."""
        if self.device.type == "cuda":
            try:
                run()
            except torch.OutOfMemoryError:
                return "more memory than the GPU has"
            finally:
                torch.cuda.empty_cache()
        return None


def exponents(rows: Sequence[Mapping[str, Any]], least: Mapping[str, int]) -> list[dict[str, Any]]:
    """Of each sweep, kind of work and program, over the sizes from ``least`` on."""
    against = {"frames": "frames", "clips": "clips", "backbone": "gflop"}
    found = []
    for varied, what, program in dict.fromkeys(
        (row["varied"], row["what"], row["program"]) for row in rows
    ):
        points = [
            (row[against[varied]], row["median_ms"])
            for row in rows
            if (row["varied"], row["what"], row["program"]) == (varied, what, program)
            and row[against[varied]] >= least.get(varied, 0)
        ]
        slope = exponent(*zip(*points, strict=True)) if points else None
        if slope is not None:
            found.append({
                "varied": varied, "what": what, "program": program, "exponent": slope,
                "against": against[varied], "sizes": [size for size, _ in points],
            })  # fmt: skip
    return found


def line(row: Mapping[str, Any]) -> str:
    text = (
        f"{row['what']:<11}{row['backbone'].removesuffix('-quickgelu'):<9}{row['frames']:>3} frames"
        f"{row['clips']:>3} clips  {row['program']:<14}"
    )
    if "median_ms" not in row:
        return text
    return f"{text}{row['median_ms']:>10.1f} ms{row['gflop_per_s']:>8.0f} GFLOP/s"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--dtype", default="bf16", choices=list(pe_clip.NEAR), help="of ours")
    parser.add_argument("--programs", nargs="+", default=["reference", "ours"])
    parser.add_argument("--what", nargs="+", default=KINDS, choices=KINDS)
    parser.add_argument("--backbone", default="ViT-B-16-quickgelu", help="of frames and clips")
    parser.add_argument("--frames", type=int, nargs="+", default=FRAMES, help="of one clip")
    parser.add_argument("--clips", type=int, nargs="+", default=CLIPS)
    parser.add_argument("--frames-of-clips", type=int, default=pe_clip.FRAMES)
    parser.add_argument("--backbones", nargs="*", default=BACKBONES)
    parser.add_argument("--from-frames", type=int, default=8, help="least T of the exponents")
    parser.add_argument("--from-clips", type=int, default=2, help="least clips of the exponents")
    parser.add_argument("--most-seconds", type=float, default=10.0, help="predicted, of one run")
    parser.add_argument("--seconds", type=float, default=5.0, help="per size and kind of work")
    parser.add_argument("--output", type=Path, default=RESULTS)
    options = parser.parse_args()
    length = options.frames_of_clips
    sweeps = {
        "frames": [Size(options.backbone, frames, 1) for frames in sorted(options.frames)],
        "clips": [Size(options.backbone, length, clips) for clips in sorted(options.clips)],
        "backbone": [Size(backbone, length, 1) for backbone in options.backbones],
    }
    bench = Bench(options)
    rows = [
        {"varied": varied, **row}
        for varied, sizes in sweeps.items()
        for size in sizes
        for what in options.what
        for row in bench.rows(what, size)
    ]
    found = exponents(rows, {"frames": options.from_frames, "clips": options.from_clips})
    for entry in found:
        print("{what} of {program}: time ~ {against}^{exponent:.2f}".format(**entry))
    device = torch.device(options.device)
    facts = {"exponents": found, "left_out": bench.left_out}
    print(write("scaling", device, rows, options.output, **facts))


if __name__ == "__main__":
    main()
