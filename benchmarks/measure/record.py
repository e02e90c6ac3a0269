"""How things are timed, and what a result says of where it comes from."""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import torch

from peclip_fast.files import write_text
from peclip_fast.ops import extension

RESULTS = Path(__file__).parents[1] / "results"
# Each holds a CPU to a lesser instruction set: our kernels, oneDNN's products, PyTorch's loops, and
# MKL's products.
LIMITS = (
    "PECLIP_FAST_MAX_CPU_ISA", "ONEDNN_MAX_CPU_ISA", "ATEN_CPU_CAPABILITY",
    "MKL_ENABLE_INSTRUCTIONS",
)  # fmt: skip


def captured(run: Callable[[], object], device: torch.device) -> Callable[[], object]:
    """On a GPU the run as a CUDA graph, so that the GPU's time is measured and not Python's."""
    if device.type != "cuda":
        return run
    side = torch.cuda.Stream(device)
    side.wait_stream(torch.cuda.current_stream(device))
    with torch.cuda.stream(side):
        for _ in range(3):
            run()
    torch.cuda.current_stream(device).wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        run()
    return graph.replay


def interleaved(
    runs: Mapping[str, Callable[[], object]], device: torch.device, seconds: float = 2.0,
    settle: bool = False, least: int = 5,
    around: Mapping[str, Callable[[], AbstractContextManager[None]]] | None = None,
) -> dict[str, dict[str, float]]:  # fmt: skip
    """Times of each function in milliseconds, taken in turn so that all see the same machine.

    Each is run twice to warm up, then in turns for about ``seconds`` in all, at least ``least``
    times. With ``settle`` a turn starts with two runs that are not timed: functions that take
    gigabytes leave the next one without memory at hand, which it has from its third run on when it
    runs alone. ``around`` gives, by name, the context of a function's turns.
    """
    once = _on_gpu if device.type == "cuda" else _on_cpu
    for run in [*runs.values()] * 2:
        run()
    times: dict[str, list[float]] = {name: [] for name in runs}
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(next(iter(times.values()))) < least:
        for name, run in runs.items():
            with (around or {}).get(name, nullcontext)():
                for _ in range(2 if settle else 0):
                    run()
                times[name].append(once(run))
    return {
        name: {"median_ms": statistics.median(t), "min_ms": min(t), "runs": len(t)}
        for name, t in times.items()
    }


def _on_cpu(run: Callable[[], object]) -> float:
    start = time.perf_counter()
    run()
    return 1e3 * (time.perf_counter() - start)


def _on_gpu(run: Callable[[], object], times: int = 10) -> float:
    """Several in a row, so that the GPU never waits for the next to be launched."""
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    start.record()
    for _ in range(times):
        run()
    end.record()
    end.synchronize()
    return start.elapsed_time(end) / times


def copy_bandwidth(device: torch.device) -> float:
    """Bytes a second, read and written, of the copy of a tensor that no cache holds."""
    source = torch.zeros(2**30 if device.type == "cuda" else 2**28, dtype=torch.uint8).to(device)
    target = torch.empty_like(source)
    times = interleaved({"copy": lambda: target.copy_(source)}, device, 1.0)
    return 2 * source.nbytes / (1e-3 * times["copy"]["median_ms"])


def matrix_rate(device: torch.device, dtype: torch.dtype) -> float:
    """FLOP a second of the product of two square matrices, large enough for every unit."""
    size = 8192 if device.type == "cuda" else 2048
    left, right = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
    product = torch.empty_like(left)
    times = interleaved({"product": lambda: torch.mm(left, right, out=product)}, device, 1.0)
    return 2 * size**3 / (1e-3 * times["product"]["median_ms"])


def provenance(device: torch.device) -> dict[str, Any]:
    """Device, driver, versions, commit and date."""
    facts: dict[str, Any] = {
        "date": datetime.now(timezone.utc).strftime("%Y-%m-%d"),
        "commit": _output(["git", "rev-parse", "--short", "HEAD"]) or "unknown",
        "device": _cpu_name(),
        "instruction_set": instruction_set(),
        "cores": len(os.sched_getaffinity(0)),
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "torch": torch.__version__,
    }
    if limits := {name: os.environ[name] for name in LIMITS if os.environ.get(name)}:
        facts["limits"] = limits
    if device.type == "cuda":
        query = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
        facts |= {"device": torch.cuda.get_device_name(device), "driver": _output(query)}
    return facts


def place(name: str, device: torch.device, folder: Path) -> Path:
    """The file of a benchmark on a device.

    Another CPU's stay: where there are some of another instruction set, these stand beside them,
    as pe_clip-cpu_avx512.json beside pe_clip-cpu.json.
    """
    path = folder / f"{name}-{device.type}.json"
    found = instruction_set()
    if device.type == "cpu" and path.exists():
        former = json.loads(path.read_text()).get("instruction_set", "amx")  # of before it was kept
        path = path if former == found else folder / f"{name}-cpu_{found}.json"
    return path


def rows_kept(path: Path, rows: list[dict[str, Any]], part: Sequence[str]) -> list[dict[str, Any]]:
    """The rows that a file has of other parts, and these; a part is what these keys say."""
    if not path.exists():
        return rows
    new = {tuple(row.get(key) for key in part) for row in rows}
    former = json.loads(path.read_text())["rows"]
    return [r for r in former if tuple(r.get(key) for key in part) not in new] + rows


def write(
    name: str, device: torch.device, rows: list[dict[str, Any]], folder: Path, **facts: Any
) -> Path:
    """One JSON file for a benchmark on a device, at its place()."""
    folder.mkdir(parents=True, exist_ok=True)
    path = place(name, device, folder)
    content = {"benchmark": name, **provenance(device), **facts, "rows": rows}
    write_text(path, json.dumps(content, indent=1))
    return path


def instruction_set() -> str:
    """The CPU kernels' here, as far as PECLIP_FAST_MAX_CPU_ISA lets them."""
    return "none" if extension.missing() else str(extension.load().cpu_instruction_set())


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
