"""What `pip install .` must leave behind: the compiled module, the kernels in their place."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
import setuptools

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def files() -> list[str]:
    """The files of the installed distribution, as its RECORD lists them."""
    for found in importlib.metadata.distributions(name="peclip-fast"):
        if found.read_text("RECORD") is not None:  # else an egg-info folder that a build left
            return [str(file) for file in found.files or ()]
    pytest.fail("peclip-fast is not installed: this is a source tree on the path")


def _setup(*arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "setup.py", *arguments],
        cwd=ROOT,
        env={**os.environ, "LC_ALL": "C", **settings},
        capture_output=True,
        text=True,
    )


def test_compiled_module_states_its_build() -> None:
    from peclip_fast import _C

    assert re.fullmatch(r"\d+\.\d+\.\d+", _C.version)
    assert _C.cuda == bool(_C.cuda_architectures)
    if _C.cuda:
        assert re.match(r"\d+\.\d+", _C.cuda_version)
        assert list(_C.cuda_architectures) == sorted(set(_C.cuda_architectures))
        assert min(_C.cuda_architectures) >= 75
    else:
        assert _C.cuda_version is None
        assert "PECLIP_FAST_CUDA" in _C.cuda_problem()


def test_compiled_module_is_of_the_installed_version(files: list[str]) -> None:
    from peclip_fast import _C

    assert _C.version == importlib.metadata.version("peclip-fast")


def test_without_a_gpu_the_module_loads_and_says_why() -> None:
    import torch

    from peclip_fast import _C

    assert bool(_C.cuda_problem()) == (not (_C.cuda and torch.cuda.is_available()))


def test_kernels_install_inside_the_package(files: list[str]) -> None:
    tops = {file.split("/")[0] for file in files if not file.endswith("bin/peclip-fast")}
    ours = r"peclip_fast|peclip_fast-.*\.dist-info|__editable__.*peclip_fast.*|__pycache__"
    assert tops
    assert all(re.fullmatch(ours, top) for top in tops), tops
    spec = importlib.util.find_spec("peclip_fast.kernels")
    assert spec is not None
    assert spec.origin is not None
    assert Path(spec.origin).name == "__init__.py"


def test_source_tree_on_the_path_still_finds_the_compiled_module(files: list[str]) -> None:
    """`python -m peclip_fast.train` in the checkout: its peclip_fast/ hides the installed one."""
    code = "import peclip_fast, peclip_fast._C, peclip_fast.kernels; print(peclip_fast.__file__)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert Path(done.stdout.split()[-1]) == ROOT / "peclip_fast" / "__init__.py"


@pytest.mark.parametrize(
    ("name", "value"), [("PECLIP_FAST_CUDA", "yes"), ("PECLIP_FAST_CUDA_ARCHS", "hopper")]
)
def test_wrong_build_setting_is_one_clear_error(name: str, value: str, tmp_path: Path) -> None:
    settings = {"PECLIP_FAST_CUDA": "1", name: value}
    done = _setup("build_ext", "--build-temp", str(tmp_path), "-b", str(tmp_path), **settings)
    assert done.returncode != 0
    assert done.stderr.splitlines()[-1].startswith(f"error: {name} is {value!r}: expected ")


# Of NVIDIA's GPUs from Turing on, and what may come.
CAPABILITIES = (75, 80, 86, 87, 88, 89, 90, 100, 103, 110, 120, 121, 130)


def _runs(capability: int, architectures: str) -> bool:
    """Machine code runs from its architecture on to the end of its generation, PTX ever after."""
    for name in architectures.split(";"):
        number = int(name.removesuffix("-real"))
        machine_code = number // 10 == capability // 10 and number <= capability
        if machine_code or (number <= capability and not name.endswith("-real")):
            return True
    return False


@pytest.mark.parametrize(
    ("wanted", "compiled", "runs_on"),
    [
        (None, "75-real;80-real;86-real;89-real;90-real;100;120", CAPABILITIES),
        ("90", "90", (90, 100, 103, 110, 120, 121, 130)),
        ("90 80", "80;90", CAPABILITIES[1:]),
        ("86;90a,100", "86-real;90a;100", None),
    ],
)
def test_what_no_machine_code_is_made_for_has_ptx(
    wanted: str | None, compiled: str, runs_on: tuple[int, ...] | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(setuptools, "setup", lambda **_: None)
    monkeypatch.delenv("PECLIP_FAST_CUDA_ARCHS", raising=False)
    if wanted is not None:
        monkeypatch.setenv("PECLIP_FAST_CUDA_ARCHS", wanted)
    found = runpy.run_path(str(ROOT / "setup.py"))["cuda_architectures"]()
    assert found == compiled
    if runs_on is not None:
        assert tuple(c for c in CAPABILITIES if _runs(c, found)) == runs_on


@pytest.mark.slow
def test_builds_without_cuda(tmp_path: Path) -> None:
    # The installed module was built with all optimization, which is most of a build's time.
    (compiler := tmp_path / "c++").write_text('#!/bin/sh\nexec c++ "$@" -O0\n')
    compiler.chmod(0o755)
    settings = {"PECLIP_FAST_CUDA": "0", "CXX": str(compiler)}
    arguments = ("build_ext", "--build-temp", str(tmp_path / "temp"), "-b", str(tmp_path / "lib"))
    done = _setup(*arguments, **settings)
    assert done.returncode == 0, done.stdout + done.stderr
    (library,) = (tmp_path / "lib" / "peclip_fast").iterdir()
    spec = importlib.util.spec_from_file_location("_C", library)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert not module.cuda
    assert module.cuda_architectures == ()

    again = (*arguments[:-1], str(tmp_path / "again"))
    done = _setup(*again, **settings)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Building CXX" not in done.stdout
    assert (tmp_path / "again" / "peclip_fast" / library.name).read_bytes() == library.read_bytes()
    # Other flags compile again: these at once fail.
    done = _setup(*again, **settings, CXXFLAGS="-include /nowhere.h")
    assert done.returncode != 0
    assert "/nowhere.h: No such file" in done.stdout + done.stderr
