"""Results of no measurement, as the benchmarks write them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

FACTS = {
    "date": "2026-11-22", "commit": "abc1234", "device": "Some(R) Processor", "cores": 2,
    "threads": 2, "torch": "2.15.0",
}  # fmt: skip


def pe_clip_rows() -> list[dict[str, Any]]:
    rows = []
    for what, times in {"inference": (1000.0, 400.0), "train step": (3000.0, 1200.0)}.items():
        for program, ms, other, ratio in (
            ("reference", times[0], "ours", 0.4), ("ours", times[1], "reference", 2.5),
        ):  # fmt: skip
            rows.append({
                "what": what, "clips": 2, "backbone": "ViT-B-16", "program": program, "runs": 7,
                "dtype": "fp32" if program == "reference" else "bf16", "median_ms": ms,
                "clips_per_s": 2000 / ms, "times_faster_than": {other: ratio},
            })  # fmt: skip
    for program, used in (("reference", 9e9), ("ours", 3.2e9)):
        rows.append({"what": "peak memory", "clips": 2, "program": program, "bytes": used})
    return rows


def operator_rows() -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = [
        {"clips": 2, "hidden": 48, "dtype": "bf16", "contender": "cuda", "not_run": "no GPU"}
    ]
    for direction, flops in (("forward", 4_000_000), ("forward and backward", 12_000_000)):
        for contender, ms, ratios in (
            ("eager", 2.0, {"torch.compile": 0.75}), ("torch.compile", 1.5, {"eager": 4 / 3}),
            ("cpu", 1.0, {"eager": 2.0, "torch.compile": 1.5}),
        ):  # fmt: skip
            rows.append({
                "clips": 2, "hidden": 48, "dtype": "bf16", "contender": contender,
                "direction": direction, "median_ms": ms, "times_faster_than": ratios,
                "flops": flops, "floor_bytes": 100_000,
            })  # fmt: skip
    return rows


ROOFS = {"copy_bytes_per_s": 10e9, "matrix_flops_per_s": {"bf16": 100e9}}


def write_results(root: Path, name: str, rows: list[dict[str, Any]], **facts: Any) -> Path:
    path = root / "benchmarks" / "results" / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    benchmark = name.rpartition("-")[0]
    path.write_text(json.dumps({"benchmark": benchmark, **FACTS, **facts, "rows": rows}))
    return path
