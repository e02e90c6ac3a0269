"""Compiles the .cu files for the CPU: by g++, against the CUDA stand-in in tests/csrc/shim/."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sysconfig
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType

SHIM = Path(__file__).parents[2] / "csrc" / "shim"
CSRC = Path(__file__).parents[3] / "csrc"

BINDINGS = SHIM.parent / "cuda_module.cpp"

COMMON = ("-std=c++17", "-fPIC", "-O1", "-Wall", "-Wextra", "-fno-gnu-unique", "-U_FORTIFY_SOURCE")
# -Bsymbolic: the shim's CUDA functions, not those of a real runtime that the process has loaded.
LINKED = ("-shared", "-Wl,-Bsymbolic", "-Wl,--wrap=memcpy")
SPEED, SWITCHES = ("-O2",), ("NATIVE", "PORTABLE")
# Before every access to memory, and after what is undefined, the code calls shim/memory.cpp.
WATCHED = (
    "-x", "c++", f"-I{SHIM}", f"-I{CSRC}", "-g1", "-Wno-unknown-pragmas", "-fno-builtin-memcpy",
    "-fno-threadsafe-statics",  # the shim has one thread
    "-fsanitize=thread", "--param=tsan-instrument-func-entry-exit=0",
    "-fsanitize=alignment,bounds,shift,signed-integer-overflow,integer-divide-by-zero",
)  # fmt: skip


def missing() -> str | None:
    """Why nothing can be compiled here, if so."""
    if shutil.which("g++") is None:
        return "g++ is not installed"
    if importlib.util.find_spec("pybind11") is None:
        return "pybind11 is not installed"
    return None


def _run(command: Sequence[str | Path]) -> None:
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(map(str, command))}\n{done.stdout}{done.stderr}")


def cuda_sources(folder: Path) -> list[Path]:
    """The .cu files under a folder, none with static shared memory, which the shim doesn't have."""
    for path in (*folder.rglob("*.cu"), *folder.rglob("*.cuh")):
        for line in path.read_text().splitlines():
            code = line.partition("//")[0]
            if re.search(r"\b__shared__\b", code) and not re.search(r"extern\s+__shared__", code):
                raise RuntimeError(f"{path.name}: static shared memory: {line.strip()}")
    return sorted(folder.rglob("*.cu"))


def _compile(jobs: Sequence[tuple[Path, Sequence[str]]], folder: Path) -> list[Path]:
    """The object files of sources, each with its own flags."""
    folder.mkdir(parents=True, exist_ok=True)
    objects = [folder / f"{number}-{path.name}.o" for number, (path, _) in enumerate(jobs)]

    def compile_one(job: tuple[Path, Sequence[str]], to: Path) -> None:
        _run(["g++", *COMMON, *job[1], "-c", job[0], "-o", to])

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(compile_one, jobs, objects))
    return objects


def compile_shim(folder: Path) -> Path:
    """The shim's object files, for all libraries, with each way of switching stacks."""
    switch = SHIM / "fibers.cpp"
    _compile([(path, SPEED) for path in sorted(SHIM.glob("*.cpp")) if path != switch], folder)
    for name in SWITCHES:
        _compile([(switch, (*SPEED, f"-DSHIM_{name}"))], folder / name)
    return folder


def link(
    library: Path,
    sources: Sequence[tuple[Path, Sequence[str]]],
    shim: Path,
    switch: str = SWITCHES[0],
) -> Path:
    """Compile the sources, each with its own flags, into one shared library with the shim.

    Args:
        shim: what compile_shim gave.
        switch: its way of switching stacks.
    """
    objects = _compile(sources, library.parent)
    objects += [*sorted(shim.glob("*.o")), *(shim / switch).glob("*.o")]
    _run(["g++", *LINKED, "-o", library, *objects, "-ldl", "-pthread"])
    return library


def build_extension(folder: Path, shim: Path) -> Path:
    """peclip_fast._C with its CUDA kernels alone, on the CPU."""
    import pybind11

    host = [
        f"-I{CSRC}", f"-I{sysconfig.get_path('include')}", f"-I{pybind11.get_include()}",
        "-fvisibility=hidden", "-O0",
    ]  # fmt: skip
    sources = [*((path, WATCHED) for path in cuda_sources(CSRC)), (BINDINGS, host)]
    return link(folder / f"_C{sysconfig.get_config_var('EXT_SUFFIX')}", sources, shim)


def load_extension(path: Path) -> ModuleType:
    """The module of this file; the installed one stays as it is.

    Not under its real name: pybind11 gives a module that is loaded again under one name the first's
    functions.
    """
    spec = importlib.util.spec_from_file_location("cuda_on_cpu._C", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
