"""The facts that a verdict depends on: the processor, what runs on it, and the kernels' code."""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import os
import platform
import shutil
import subprocess
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

from peclip_fast.ops import extension
from peclip_fast.version import __version__

_PACKAGE = Path(__file__).parents[2]
_QUERY = ("driver_version", "compute_mode", "memory.free")


def facts(device: torch.device) -> dict[str, str]:
    """Equal where a kernel does the same, as far as anyone can tell."""
    of_device = _gpu(device) if device.type == "cuda" else _cpu()
    return {"device": device.type, **of_device, "torch": torch.__version__, **_code()}


def _cpu() -> dict[str, str]:
    names = {
        line.partition(":")[2].strip()
        for line in _lines(Path("/proc/cpuinfo"))
        if line.startswith("model name")
    }
    level = "" if extension.missing() else extension.load().cpu_instruction_set()
    return {
        "name": ", ".join(sorted(names)) or platform.machine(),
        "instruction_set": level,
        "bf16_missing": extension.bf16_missing() or "",
        "cores": str(len(os.sched_getaffinity(0))),
    }


def _gpu(device: torch.device) -> dict[str, str]:
    about = torch.cuda.get_device_properties(device)
    return {
        "name": about.name,  # of a MIG slice too
        "capability": f"{about.major}.{about.minor}",
        "multiprocessors": str(about.multi_processor_count),
        "driver": queried(device).get("driver_version", ""),
        "cuda": torch.version.cuda or "",
        "triton": _version("triton"),
    }


def visible(device: torch.device) -> str:
    """What CUDA_VISIBLE_DEVICES has to be for a process that sees this GPU only."""
    given = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    entries = [entry.strip() for entry in given.split(",") if entry.strip()]
    index = device.index or 0
    if index < len(entries) and entries[index].startswith("MIG-"):
        return entries[index]  # its properties have the UUID of the whole GPU
    return f"GPU-{torch.cuda.get_device_properties(device).uuid}"


def queried(device: torch.device) -> dict[str, str]:
    """What nvidia-smi says of a GPU; nothing where it can't be asked."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return {}
    command = [program, f"--query-gpu={','.join(_QUERY)}", "--format=csv,noheader,nounits",
               f"--id={visible(device)}"]  # fmt: skip
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.SubprocessError):
        return {}
    values = [value.strip() for value in done.stdout.split(",")]
    return dict(zip(_QUERY, values, strict=True)) if len(values) == len(_QUERY) else {}


@functools.cache
def _code() -> dict[str, str]:
    """Digests of the compiled module, of the Triton kernels, and of what calls them."""
    spec = importlib.util.find_spec("peclip_fast._C")
    return {
        "peclip_fast": __version__,
        "extension": digest([Path(spec.origin)] if spec and spec.origin else []),
        "kernels": digest((_PACKAGE / "kernels").rglob("*.py")),
        "operators": digest((_PACKAGE / "ops").rglob("*.py")),
    }


def digest(paths: Iterable[Path]) -> str:
    """Of files, by their names and what is in them; nothing for none."""
    whole = hashlib.sha256()
    files = sorted(paths)
    for path in files:
        data = path.read_bytes()
        whole.update(f"{path.name}\0{len(data)}\0".encode())
        whole.update(data)
    return whole.hexdigest()[:16] if files else ""


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(errors="replace").splitlines()
    except OSError:
        return []


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""
