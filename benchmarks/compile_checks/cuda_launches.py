"""What the CUDA kernels of a built extension use, and how they would be launched."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType

from benchmarks.compile_checks import cubins
from benchmarks.compile_checks.cases import Case
from benchmarks.compile_checks.occupancy import LIMITS, WARP
from benchmarks.compile_checks.usage import Key, Usage

TYPES = {"fp32": 0, "bf16": 1, "fp16": 2}  # enum Type in csrc/
TILE_COLUMNS, TILE_DEPTH = 8, 32  # csrc/cuda/tile.cuh


def load(library: Path | None) -> ModuleType:
    """The extension in a file, or the one that peclip_fast would import."""
    if library is None:
        return importlib.import_module("peclip_fast._C")
    spec = importlib.util.spec_from_file_location("_C", library)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def measure(extension: ModuleType, cases: Iterable[Case]) -> dict[Key, Usage]:
    """All kernels in it as they are launched in these cases; those that aren't have no case."""
    assert extension.__file__ is not None
    compiled = {
        (kernel, sm): usage
        for (kernel, sm), usage in cubins.read(Path(extension.__file__)).items()
        if sm in LIMITS and kernel != "probe"  # does nothing, see csrc/cuda/probe.cu
    }
    launched = {}
    for sm in sorted({sm for _, sm in compiled}):
        for case in cases:
            for name, threads, shared, plain in extension.temporal_adapter_cuda_plan(
                TYPES[case.dtype], case.width, case.hidden, LIMITS[sm].shared_per_block
            ):
                kernel = instance(name, case, threads, plain)
                registers, stack, own, _ = compiled[kernel, sm]
                key = Key("cuda", "temporal_adapter", kernel, str(case), sm)
                launched[key] = Usage(registers, stack, own + shared, threads)
    known = {(key.kernel, key.sm) for key in launched}
    return launched | {
        Key("cuda", "temporal_adapter", kernel, "", sm): usage
        for (kernel, sm), usage in compiled.items()
        if (kernel, sm) not in known
    }


def instance(name: str, case: Case, threads: int, plain: bool) -> str:
    """The form of the kernel's template that runs in this case, of rows that are aligned."""
    tiles = -(-case.hidden // TILE_COLUMNS)
    tiles_per_warp = -(-tiles * WARP // threads)
    depth = 3 if case.hidden <= 3 * TILE_DEPTH else 6
    is_plain = str(plain).lower()
    form = (2 if case.wide_dtype != case.dtype else 1) if plain else 0  # enum Form of up.cu
    kernel, _, sequences = name.partition(" of ")
    return {
        "down": f"down<{case.dtype}, {case.dtype}, true, {is_plain}>",
        "recurrence": f"recurrence<{case.dtype}, {tiles_per_warp}, {int(sequences or 16) // 16}, "
        f"{is_plain}>",
        "up": f"up<{case.dtype}, {depth}, false, {form}>",
        "up_backward": f"down<{case.dtype}, {case.wide_dtype}, false, {is_plain}>",
        "recurrence_backward": f"recurrence_backward<{case.dtype}, {tiles_per_warp}, "
        f"{int(sequences or 16) // 16}, {is_plain}>",
        "down_backward": f"up<{case.dtype}, {depth}, true, {form}>",
    }[kernel]


def plain_kernels(extension: ModuleType, cases: Iterable[Case], sm: int) -> set[str]:
    """Those that have a form without run-time choices in these cases."""
    limit = LIMITS[sm].shared_per_block
    return {
        instance(name, case, threads, plain)
        for case in cases
        for name, threads, _, plain in extension.temporal_adapter_cuda_plan(
            TYPES[case.dtype], case.width, case.hidden, limit
        )
        if plain
    }
