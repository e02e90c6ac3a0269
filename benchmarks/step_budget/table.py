"""The table of what steps ask of a GPU: as JSON, as a page of the documentation, and what grew."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from benchmarks.step_budget.counts import Counts

ROOT = Path(__file__).parents[2]
DATA = Path(__file__).with_name("budget.json")
PAGE = ROOT / "docs" / "step-budget.md"
# Of another PyTorch some operations have other parts: so much more isn't taken for ours.
OTHER_PYTORCH = 0.02

COLUMNS = {
    "pageable": "copies from the CPU that wait",
    "pinned": "copies from the CPU that don't",
    "waits": "waits for the GPU",
    "launches": "launches",
    "wide_copies": "D-wide copies",
    "gigabytes": "GB outside",
}
NEVER_MORE = ("pageable", "pinned", "waits")
Row = dict[str, Any]


def row(step: str, clips: int, backend: str, counts: Counts) -> Row:
    """Of one step."""
    return {
        "step": step,
        "clips": clips,
        "backend": backend,
        "pageable": len(counts.pageable),
        "pinned": counts.pinned,
        "waits": len(counts.waits),
        "launches": counts.launches,
        "wide_copies": counts.wide_copies,
        "gigabytes": math.ceil(counts.bytes_outside / 1e8) / 10,
    }


def name(row: Row) -> tuple[str, int, str]:
    """Which row it is."""
    return row["step"], row["clips"], row["backend"]


def grown(found: list[Row], known: list[Row], *, same_pytorch: bool) -> list[str]:
    """A line for each number that is larger than in the table, and each row that isn't in both."""
    table = {name(row): row for row in known}
    lines = [
        f"{missing} is not counted any more" for missing in table.keys() - set(map(name, found))
    ]
    for row in found:
        before = table.get(name(row))
        if before is None:
            lines.append(f"{name(row)} is not in the table")
            continue
        for column, words in COLUMNS.items():
            free = 0.0 if same_pytorch or column in NEVER_MORE else OTHER_PYTORCH * before[column]
            if row[column] > before[column] + free:
                lines.append(f"{name(row)}: {row[column]} {words}, {before[column]} in the table")
    return lines


def as_json(rows: list[Row], pytorch: str) -> str:
    """A row a line."""
    lines = ",\n".join("  " + json.dumps(row) for row in rows)
    return f'{{"pytorch": {json.dumps(pytorch)}, "rows": [\n{lines}\n]}}\n'


def read() -> tuple[list[Row], str]:
    """The committed rows, and the PyTorch that they are of."""
    content = json.loads(DATA.read_text())
    return content["rows"], content["pytorch"]


TEXT = """# What a step asks of the GPU

**Counted, not measured: no GPU was there.** PE-CLIP on ViT-B/16, with {frames} frames of 224 pixels
in bfloat16, goes through one whole step on tensors that hold nothing, under CUDA's rules of
autocast. *Train* is a step after the first, which prepares a batch with FMix and runs both passes
and AdamW. *Inference* is a batch of `peclip-fast evaluate` after the first. `python -m
benchmarks.step_budget --write` makes this page. CI counts again and fails where a number has grown.
[The kernels](kernels.md#the-frozen-block-on-a-gpu-layer_norm-feed_forward-attention-triton) says
what the floor is, and what is above it.

{table}

*PyTorch {pytorch}.*

- A **backend** is what `--model.backend` names. `auto` takes plain PyTorch on a GPU until a kernel
  is verified there. `cudnn` isn't counted, as its launches are cuDNN's own.
- **Copies from the CPU that wait** come from memory that isn't pinned, or block. **Waits** are
  numbers that the CPU reads from the GPU. Either stops the CPU until the GPU has done all that it
  was given.
- A **launch** is a call of ATen that computes or moves something, or a kernel of ours, also inside
  our operators. Some calls of ATen start several kernels. The first step of training has some 1,100
  more, for the optimizer's state and the frozen weights' dtype.
- **D-wide copies** are copies, casts and concatenations of at least D numbers for each patch of the
  batch. Most are autocast's.
- **GB outside** is what is read and written outside of matrix products and attention, each tensor
  once a launch.
"""


def as_page(rows: list[Row], pytorch: str, frames: int) -> str:
    """For the documentation."""
    heads = ["step", "clips", "backend", *COLUMNS.values()]
    lines = [heads, ["---"] * 3 + ["--:"] * len(COLUMNS)]
    lines += [[str(row[key]) for key in ("step", "clips", "backend", *COLUMNS)] for row in rows]
    table = "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
    return TEXT.format(table=table, pytorch=pytorch, frames=frames)
