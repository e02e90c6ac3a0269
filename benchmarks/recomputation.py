"""``python -m benchmarks.recomputation``: memory of a train step when activations aren't kept.

The package's model, which keeps the activations of all vision blocks, or computes again those of
the first few in its backward pass (``train.recompute``). That the gradients are the same to the bit
is checked first; on a GPU, where sums may come in another order, to rounding. Peak memory is of a
process of its own for each, beyond what it held before its first step; times are taken in turns.
"""

from __future__ import annotations

import argparse
import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks import pe_clip
from benchmarks.measure.record import RESULTS, interleaved, write

BACKBONES = ("ViT-B-32-quickgelu", "ViT-B-16-quickgelu")
ROUNDING = 1e-2  # of a gradient's norm, in bf16


def make(backbone: str, dtype: str, blocks: int) -> tuple[torch.nn.Module, pe_clip.Program]:
    model, program = pe_clip.program_of(backbone, dtype, "auto")
    model.recompute(blocks)
    return model, program


def gradients(
    made: tuple[torch.nn.Module, pe_clip.Program], frames: Tensor, labels: Tensor
) -> list[Tensor]:
    model, program = made
    loss = F.cross_entropy(program(frames), labels)
    return [loss, *torch.autograd.grad(loss, [p for p in model.parameters() if p.requires_grad])]


def check(expected: Sequence[Tensor], found: Sequence[Tensor], near: float) -> None:
    """SystemExit unless each differs by at most so much of its norm."""
    for a, b in zip(expected, found, strict=True):
        if not (a - b).norm() <= near * a.norm():
            raise SystemExit(f"other gradients, by {(a - b).norm() / a.norm():.1g} of their norm")


def measure(
    options: argparse.Namespace, backbone: str, clips: int, device: torch.device
) -> list[dict[str, Any]]:
    """A row per number of blocks."""
    size = pe_clip.image_size(backbone)
    frames = pe_clip.make_frames(clips, size, device)
    labels = torch.arange(clips, device=device) % len(pe_clip.CLASSES)
    runs, expected = {}, None
    for blocks in options.blocks:
        model, program = made = make(backbone, options.dtype, blocks)
        model.to(device).train()
        found = gradients(made, frames, labels)
        expected = expected or found
        check(expected, found, 0.0 if device.type == "cpu" else ROUNDING)
        runs[str(blocks)] = functools.partial(pe_clip.train_step(model, program, labels), frames)
    del found, expected
    times = interleaved(runs, device, options.seconds, settle=True)
    rows: list[dict[str, Any]] = []
    for blocks in options.blocks:
        maker = functools.partial(make, backbone, options.dtype, blocks)
        used = pe_clip.peak_memory_alone(maker, clips, size, options.device)
        row = {"backbone": backbone, "clips": clips, "dtype": options.dtype, "blocks": blocks}
        row |= {"bytes": used, **times[str(blocks)]}
        first = rows[0] if rows else row
        row["memory_share"] = used / first["bytes"]
        row["time_share"] = row["median_ms"] / first["median_ms"]
        rows.append(row)
        print(line(row), flush=True)
    return rows


def line(row: dict[str, Any]) -> str:
    return (
        f"{row['backbone']:<20}{row['clips']:>3} clips  {row['blocks']:>2} blocks again"
        f"{row['bytes'] / 1e9:>8.2f} GB ({row['memory_share']:.2f})"
        f"{row['median_ms']:>10.1f} ms ({row['time_share']:.2f})"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--backbones", nargs="+", default=BACKBONES)
    parser.add_argument("--dtype", default="bf16", choices=list(pe_clip.NEAR))
    parser.add_argument("--clips", type=int, nargs="+", default=None, help="32 on a GPU, else 2")
    parser.add_argument("--blocks", type=int, nargs="+", default=[0, 4, 8, 12])
    parser.add_argument("--seconds", type=float, default=60.0, help="per backbone and clips")
    parser.add_argument("--output", type=Path, default=RESULTS)
    options = parser.parse_args()
    device = torch.device(options.device)
    rows = [
        row
        for backbone in options.backbones
        for clips in options.clips or [32 if device.type == "cuda" else 2]
        for row in measure(options, backbone, clips, device)
    ]
    print(write("recomputation", device, rows, options.output))


if __name__ == "__main__":
    main()
