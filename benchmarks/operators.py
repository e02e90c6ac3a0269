"""``python -m benchmarks.operators``: each operator's backends beside its plain-PyTorch reference.

Outputs and gradients are compared first; a backend that can't run here is listed with its reason.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.record import RESULTS, interleaved, write
from peclip_fast import InputError, ops

BACKENDS = ("reference", "cpu", "triton", "cuda")
# ViT-B/16 at 224 px: tokens of a frame beside two prompts, vision width, bottleneck width.
TOKENS, WIDTH, HIDDEN = 199, 768, 96
FRAMES = 16
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
TOLERANCE = {"fp32": 1e-4, "bf16": 4e-2}  # of the largest value


def bottleneck_adapter(clips: int, **kind: Any) -> tuple[list[Tensor], Callable[..., Tensor]]:
    """Tensors and the operator on them, x and residual first."""
    shape = (clips * FRAMES, TOKENS, WIDTH)
    weights = [(HIDDEN, WIDTH), (HIDDEN,), (WIDTH, HIDDEN), (WIDTH,)]
    tensors = [_random(shape, **kind), _random(shape, **kind), *_weights(weights, **kind)]

    def run(backend: str) -> Tensor:
        x, residual, *rest = tensors
        return ops.bottleneck_adapter(x, *rest, residual, backend=backend)

    return tensors, run


def temporal_adapter(clips: int, **kind: Any) -> tuple[list[Tensor], Callable[..., Tensor]]:
    """Tensors and the operator on them, x and residual first."""
    shape = (clips, FRAMES, TOKENS, WIDTH)
    weights = [
        (WIDTH,), (WIDTH,), (1, WIDTH), (1,), (HIDDEN, WIDTH), (HIDDEN,), (3 * HIDDEN, HIDDEN),
        (3 * HIDDEN, HIDDEN), (3 * HIDDEN,), (3 * HIDDEN,), (WIDTH, HIDDEN), (WIDTH,),
    ]  # fmt: skip
    tensors = [_random(shape, **kind), _random(shape, **kind), *_weights(weights, **kind)]
    return tensors, lambda backend: ops.temporal_adapter(*tensors, backend=backend)


def _random(shape: tuple[int, ...], device: torch.device, dtype: torch.dtype) -> Tensor:
    return torch.randn(shape, device=device).to(dtype).requires_grad_()


def _weights(shapes: list[tuple[int, ...]], device: torch.device, dtype: torch.dtype) -> list[Any]:
    return [
        (torch.randn(shape, device=device) * shape[-1] ** -0.5).to(dtype).requires_grad_()
        for shape in shapes
    ]


OPERATORS = {"bottleneck_adapter": bottleneck_adapter, "temporal_adapter": temporal_adapter}


def measure(op: str, clips: int, dtype: str, device: torch.device, seconds: float) -> list[dict]:
    """A row per backend and direction."""
    torch.manual_seed(0)
    tensors, run = OPERATORS[op](clips, device=device, dtype=DTYPES[dtype])
    gradient = torch.randn_like(tensors[0])

    def results(backend: str) -> list[Tensor]:
        y = run(backend)
        return [y, *torch.autograd.grad(y, tensors, gradient)]

    row = {"operator": op, "clips": clips, "dtype": dtype}
    rows, expected, able = [], results("reference"), []
    for backend in BACKENDS:
        try:
            found = results(backend)
        except InputError as error:
            rows.append({**row, "backend": backend, "not_run": str(error)})
            continue
        for got, want in zip(found, expected, strict=True):
            error_ = ((got - want).abs().max() / want.abs().max()).item()
            if not error_ <= TOLERANCE[dtype]:
                raise SystemExit(f"{op} {dtype} {backend}: differs by {error_:.1e} of the largest")
        able.append(backend)
    for direction in ("forward", "forward and backward"):
        runs = {b: _timed(direction, b, run, results) for b in able}
        times = interleaved(runs, device, seconds)
        for backend, time in times.items():
            ratio = times["reference"]["median_ms"] / time["median_ms"]
            rows.append({**row, "backend": backend, "direction": direction, **time,
                         "times_faster_than_reference": ratio})  # fmt: skip
    return rows


def _timed(
    direction: str, backend: str, run: Callable[..., Tensor], results: Callable[..., object]
) -> Callable[[], object]:
    if direction == "forward and backward":
        return lambda: results(backend)

    def forward() -> object:
        with torch.no_grad():
            return run(backend)

    return forward


def main() -> None:
    """Measure, print a table, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--clips", type=int, nargs="+", default=None)
    parser.add_argument("--seconds", type=float, default=3.0, help="per operator and direction")
    parser.add_argument("--output", type=Path, default=RESULTS)
    options = parser.parse_args()
    device = torch.device(options.device)
    rows = []
    for op in OPERATORS:
        for clips in options.clips or ([8, 32] if device.type == "cuda" else [2]):
            for dtype in DTYPES:
                rows += measure(op, clips, dtype, device, options.seconds)
    for row in rows:
        name = f"{row['operator']:<19}{row['clips']:>3} clips {row['dtype']:<5}{row['backend']:<10}"
        if "not_run" in row:
            print(f"{name} {row['not_run']}")
        else:
            ratio = row["times_faster_than_reference"]
            print(f"{name} {row['direction']:<21}{row['median_ms']:>9.2f} ms {ratio:>7.2f}x")
    print(write("operators", device, rows, options.output))


if __name__ == "__main__":
    main()
