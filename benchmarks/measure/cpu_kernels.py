"""``python -m benchmarks.measure.cpu_kernels``: the CPU's kernels by instruction set.

Every kernel that PE-CLIP calls is checked as ``peclip-fast check-gpu --train.device cpu`` does, in
float32 and in bf16, and timed beside plain PyTorch. The verdicts are shipped with the package, for
all processors of the instruction set: ``auto`` takes what was faster. So measure on a quiet
machine, if need be in parts, and the lesser sets of its processor by both of

    ONEDNN_MAX_CPU_ISA=AVX2 PECLIP_FAST_MAX_CPU_ISA=avx2 python -m benchmarks.measure.cpu_kernels

PyTorch's oneDNN and our kernels have a variable each.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import torch

from benchmarks.measure.record import RESULTS, instruction_set, write
from peclip_fast import configure
from peclip_fast.engine.kernels.choice import checked
from peclip_fast.engine.kernels.table import table
from peclip_fast.ops.verdicts import store
from peclip_fast.ops.verdicts.verdict import Record

CPU = torch.device("cpu")
BACKBONES: dict[str, dict[str, Any]] = {
    "ViT-B-16-quickgelu": {}, "demo": {"model.prompt_depth": 4, "model.reduction": 4},
}  # fmt: skip


def verdicts_here(record: Record, backbones: list[str], dtypes: list[str]) -> Record:
    """The record with those on all calls, in place of what it has on them."""
    for backbone in backbones:
        for dtype in dtypes:
            config = configure({
                "model.backbone": backbone, "train.precision": dtype, "train.device": "cpu",
                **BACKBONES[backbone],
            })  # fmt: skip
            found = checked(
                config, CPU, every=True, force=True,
                tell=lambda text: print(text, file=sys.stderr, flush=True),
            )  # fmt: skip
            record = record.with_(found.verdicts)
    return record


def rows_of(record: Record) -> list[dict[str, Any]]:
    """A row a verdict; how many times as fast as the reference where it was timed."""
    rows = table(record, CPU)
    plain = {row["call"]: row for row in rows if row["backend"] == "reference"}
    for row in rows:
        other = plain.get(row["call"])
        row["times_faster_than"] = {} if other is None or row is other else {
            name: other[name] / row[name] for name in ("forward_ms", "both_ms") if row[name]
        }  # fmt: skip
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--backbone", nargs="+", default=list(BACKBONES), choices=BACKBONES)
    parser.add_argument("--dtypes", nargs="+", default=["fp32", "bf16"])
    parser.add_argument("--output", type=Path, default=RESULTS)
    parser.add_argument("--shipped", type=Path, default=store.SHIPPED)
    options = parser.parse_args()
    options.shipped.mkdir(parents=True, exist_ok=True)
    path = options.shipped / f"cpu_{instruction_set()}.json"
    former = Record({"device": "cpu", "instruction_set": instruction_set()})
    former = store.parse(path) if path.exists() else former
    record = verdicts_here(former, options.backbone, options.dtypes)
    rows = rows_of(record)
    for row in rows:
        print("{call:<48}{backend:<12}{state:<8}{forward_ms} {both_ms}".format(**row), flush=True)
    print(write("cpu_kernels", CPU, rows, options.output))
    store.write(path, record)
    print(path)


if __name__ == "__main__":
    main()
