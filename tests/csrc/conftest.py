"""The libraries that the tests of this folder run, built once."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from helpers.numerics import shim_build


def _build_once(factory: pytest.TempPathFactory, name: str, build: Callable[[Path], Path]) -> Path:
    """In a folder that all processes of pytest-xdist share; the first one builds."""
    reason = shim_build.missing()
    if reason is not None:
        pytest.skip(reason)
    base = factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / name
    folder.mkdir(exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        built = folder / "built"
        if not built.exists():
            built.write_text(str(build(folder)))
        return Path(built.read_text())


@pytest.fixture(scope="session")
def shim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shim's object files."""
    return _build_once(tmp_path_factory, "shim", shim_build.compile_shim)


@pytest.fixture(scope="session", params=shim_build.SWITCHES)
def shim_kernels(
    request: pytest.FixtureRequest, shim: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The shim with the kernels of shim_kernels.cu, for each way of switching stacks."""
    source = Path(__file__).parent / "shim_kernels.cu"

    def build(folder: Path) -> Path:
        sources = [(source, shim_build.WATCHED)]
        return shim_build.link(folder / "kernels.so", sources, shim, request.param)

    return _build_once(tmp_path_factory, f"shim_kernels_{request.param}", build)


@pytest.fixture(scope="session", params=[750, 800, 900])
def tile_kernels(
    request: pytest.FixtureRequest, shim: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """tile_kernels.cu as it is compiled for a GPU of each generation of tensor cores."""
    source = Path(__file__).parent / "tile_kernels.cu"

    def build(folder: Path) -> Path:
        flags = (*shim_build.WATCHED, f"-DPECLIP_ARCH={request.param}")
        return shim_build.link(folder / "tiles.so", [(source, flags)], shim)

    return _build_once(tmp_path_factory, f"tile_kernels_{request.param}", build)


@pytest.fixture(scope="session")
def cuda_on_cpu(shim: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """peclip_fast._C of the CUDA sources alone, compiled for the CPU, as a file."""

    def build(folder: Path) -> Path:
        return shim_build.build_extension(folder, shim)

    return _build_once(tmp_path_factory, "cuda_on_cpu", build)
