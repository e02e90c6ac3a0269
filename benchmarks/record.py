"""How things are timed, and what a result says of where it comes from."""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import time
from collections.abc import Callable, Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import torch

RESULTS = Path(__file__).parent / "results"


def interleaved(
    runs: Mapping[str, Callable[[], object]], device: torch.device, seconds: float = 2.0
) -> dict[str, dict[str, float]]:
    """Times of each function in milliseconds, taken in turn so that all see the same machine.

    Each is run twice to warm up, then in turns for about ``seconds`` in all, at least five times.
    """

    def once(run: Callable[[], object]) -> float:
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        start = time.perf_counter()
        run()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return 1e3 * (time.perf_counter() - start)

    for run in [*runs.values()] * 2:
        run()
    times: dict[str, list[float]] = {name: [] for name in runs}
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(next(iter(times.values()))) < 5:
        for name, run in runs.items():
            times[name].append(once(run))
    return {
        name: {"median_ms": statistics.median(t), "min_ms": min(t), "runs": len(t)}
        for name, t in times.items()
    }


def provenance(device: torch.device) -> dict[str, Any]:
    """Device, driver, versions, commit and date."""
    facts: dict[str, Any] = {
        "date": datetime.now(timezone.utc).strftime("%Y-%m-%d"),
        "commit": _output(["git", "rev-parse", "--short", "HEAD"]) or "unknown",
        "device": _cpu_name(),
        "cores": len(os.sched_getaffinity(0)),
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "torch": torch.__version__,
    }
    if device.type == "cuda":
        query = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
        facts |= {"device": torch.cuda.get_device_name(device), "driver": _output(query)}
    return facts


def write(name: str, device: torch.device, rows: list[dict[str, Any]], folder: Path) -> Path:
    """One JSON file for a benchmark on a device."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}-{device.type}.json"
    side = path.with_suffix(".tmp")
    side.write_text(json.dumps({"benchmark": name, **provenance(device), "rows": rows}, indent=1))
    os.replace(side, path)
    return path


def _cpu_name() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _output(command: list[str]) -> str | None:
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None
