"""``python -m benchmarks.quantized.int8``: inference with the frozen matrices in int8, on the CPU.

All products of both encoders' frozen blocks (QKV, out, and the two of the MLP) by PyTorch's own
dynamic int8 product, which is oneDNN's: a scale for each row of a weight, one for the tokens of a
call. It takes and gives float32, which the MLP's hidden layer stays in, its activation by our own
kernel. Beside it stands what ``peclip_fast`` does without it, on the same frames, in turns.

- time of inference, and bytes of the frozen matrices;
- of a finished demo run: how often both predict the same class, and by how much a probability
  changes at most.
"""

from __future__ import annotations

import argparse
import csv
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks import pe_clip
from benchmarks.measure.record import RESULTS, interleaved, write
from benchmarks.quantized.products import replaced_by
from peclip_fast.commands.evaluate import main as evaluate
from peclip_fast.errors import InputError
from peclip_fast.ops.feed_forward.operator import activate

CPU = torch.device("cpu")
# Without these instructions products of bytes are added in pairs of 16 bits, which have room for
# numbers of 7 bits only.
_WHOLE = ("avx512_vnni", "avx_vnni")
OURS, INT8 = "ours, bf16", "int8 products"


class Int8Products:
    """Products with weights in int8, each packed when it is first asked for."""

    def __init__(self) -> None:
        torch.backends.quantized.engine = "onednn"
        able = torch.cpu.get_capabilities()
        self._reduced = able["architecture"] == "x86_64" and not any(able[n] for n in _WHOLE)
        self._packed: dict[tuple[int, torch.Size], tuple[Any, Tensor]] = {}
        self.bytes_of = {OURS: 0, INT8: 0}

    def __call__(self, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        """x (..., K), weight (N, K), bias (N,) -> (..., N), float32 as oneDNN's product has it."""
        key = weight.data_ptr(), weight.shape
        if key not in self._packed:
            self._packed[key] = self._pack(weight, bias), weight
        packed = self._packed[key][0]
        found: Tensor = torch.ops.quantized.linear_dynamic(x.float(), packed, self._reduced)
        return found

    def _pack(self, weight: Tensor, bias: Tensor) -> Any:
        rows = weight.detach().float().contiguous()
        scales = rows.abs().amax(1).clamp_min(1e-12).double() / 127
        zeros = torch.zeros(len(rows), dtype=torch.int64)
        quantised = torch.quantize_per_channel(rows, scales, zeros, 0, torch.qint8)
        self.bytes_of[OURS] += 2 * weight.numel()
        self.bytes_of[INT8] += weight.numel() + 4 * len(rows)
        return torch.ops.quantized.linear_prepack(quantised, bias.detach().float())


def activated(hidden: Tensor, activation: str) -> Tensor:
    """In place; the bias is in it already."""
    rows = hidden.view(-1, hidden.shape[-1])
    activate(activation, rows, torch.zeros(rows.shape[1]), rows)
    return hidden


def times(backbone: str, clips: int, seconds: float, least: int) -> list[dict[str, Any]]:
    """A row for each program; the logits' largest difference is of the first clip."""
    frames = pe_clip.make_frames(clips, pe_clip.image_size(backbone), CPU)
    products = Int8Products()
    model, program = pe_clip.program_of(backbone, "bf16", "auto")
    infer = pe_clip.infer(model, program)

    def in_int8() -> object:
        with replaced_by(products, activated):
            return infer(frames)

    runs: dict[str, Callable[[], Any]] = {OURS: lambda: infer(frames), INT8: in_int8}
    true, found = (runs[name]().float() for name in (OURS, INT8))
    timed = interleaved(runs, CPU, seconds, settle=True, least=least)
    return [
        {
            "backbone": backbone, "clips": clips, "program": name, **timed[name],
            "frozen_bytes": products.bytes_of[name],
            "logits_differ_by": (found - true).abs().max().item() if name == INT8 else 0.0,
            "times_faster_than": {
                other: timed[other]["median_ms"] / timed[name]["median_ms"]
                for other in runs if other != name
            },
        }
        for name in runs
    ]  # fmt: skip


def agreement(run: Path) -> dict[str, float]:
    """Of a run's test clips: the share predicted alike, and a probability's largest change."""
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for name in (OURS, INT8):
            argv = [str(run), "--output", f"{folder}/{name}", "--train.precision", "bf16"]
            if name == INT8:
                with replaced_by(Int8Products(), activated):
                    code = evaluate(argv)
            else:
                code = evaluate(argv)
            if code:
                raise InputError(f"{run}: its evaluation ended with {code}")
            with open(f"{folder}/{name}/predictions.csv", newline="") as file:
                found[name] = list(csv.DictReader(file))
    before, after = found[OURS], found[INT8]
    probabilities = list(before[0])[3:]  # after path, label and prediction
    pairs = list(zip(before, after, strict=True))
    return {
        "test_clips": len(pairs),
        "agree": sum(a["prediction"] == b["prediction"] for a, b in pairs) / len(pairs),
        "probabilities_differ_by": max(
            abs(float(a[key]) - float(b[key])) for a, b in pairs for key in probabilities
        ),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path, help="a finished demo run")
    parser.add_argument("--backbones", nargs="+", default=["ViT-B-16-quickgelu"])
    parser.add_argument("--clips", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--least", type=int, default=7)
    parser.add_argument("--output", type=Path, default=RESULTS)
    options = parser.parse_args()
    rows = [
        row
        for backbone in options.backbones
        for row in times(backbone, options.clips, options.seconds, options.least)
    ]
    facts = agreement(options.run)
    for row in rows:
        print(row)
    print(facts)
    print(write("int8", CPU, rows, options.output, **facts))


if __name__ == "__main__":
    main()
