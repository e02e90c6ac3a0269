"""Builds peclip_fast._C from csrc/ with CMake and ninja; everything else is in pyproject.toml.

Settings, from the environment:
    PECLIP_FAST_CUDA        0 leaves the CUDA kernels out (default: 1 on Linux, else 0)
    PECLIP_FAST_CUDA_ARCHS  compute capabilities to build for, e.g. 90 or "80;90" (default: all)
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pybind11
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

ROOT = Path(__file__).resolve().parent
ARCHITECTURES = ("75", "80", "86", "89", "90", "100", "120")
FLAGS = ("CC", "CXX", "CXXFLAGS", "CUDAFLAGS", "LDFLAGS")  # of the environment, that CMake takes


def cuda_wanted() -> bool:
    value = os.environ.get("PECLIP_FAST_CUDA", "1" if sys.platform == "linux" else "0")
    if value not in ("0", "1"):
        raise SystemExit(f"error: PECLIP_FAST_CUDA is {value!r}: expected 0 or 1")
    return value == "1"


def cuda_architectures() -> str:
    """CMake's list: machine code for each, and PTX for the newest of the last two generations, so
    that GPUs between them (11.0) and later ones (12.1 and up) run too."""
    value = os.environ.get("PECLIP_FAST_CUDA_ARCHS", ";".join(ARCHITECTURES))
    names = [name for name in re.split(r"[;, ]+", value) if name]
    wrong = [name for name in names if not re.fullmatch(r"\d{2,3}[af]?", name)]
    if wrong or not names:
        raise SystemExit(
            f"error: PECLIP_FAST_CUDA_ARCHS is {value!r}: expected compute capabilities such as 90 "
            "or 80;90"
        )

    def capability(name: str) -> int:
        return int(name.rstrip("af"))

    names.sort(key=capability)
    newest = {capability(name) // 10: name for name in names}  # of each generation
    with_ptx = list(newest.values())[-2:]
    return ";".join(name if name in with_ptx else f"{name}-real" for name in names)


def find_nvcc() -> Path:
    """The build requirement's nvcc; without it CUDA_HOME's, then the one on PATH."""
    candidates = []
    nvidia = importlib.util.find_spec("nvidia")
    if nvidia is not None and nvidia.submodule_search_locations is not None:
        candidates += [Path(p, "cu13", "bin", "nvcc") for p in nvidia.submodule_search_locations]
    for variable in ("CUDA_HOME", "CUDA_PATH"):
        if os.environ.get(variable):
            candidates.append(Path(os.environ[variable], "bin", "nvcc"))
    on_path = shutil.which("nvcc")
    if on_path:
        candidates.append(Path(on_path))
    candidates.append(Path("/usr/local/cuda/bin/nvcc"))
    for nvcc in candidates:
        if nvcc.is_file():
            return nvcc
    raise SystemExit(
        "error: no nvcc: not in the build requirements, CUDA_HOME or PATH; "
        "set PECLIP_FAST_CUDA=0 to build without the CUDA kernels"
    )


def find_tool(name: str) -> str:
    tool = shutil.which(name) or shutil.which(name, path=str(Path(sys.executable).parent))
    if tool is None:
        raise SystemExit(f"error: no {name} on PATH: it is needed to build peclip_fast._C")
    return tool


def version_of(tool: str) -> str:
    """What a compiler says of itself; nothing where there is none, as CMake will say."""
    if shutil.which(tool) is None:
        return ""
    return subprocess.run([tool, "--version"], capture_output=True, text=True).stdout


def digest_of_sources() -> str:
    """Of all that the module is compiled from."""
    digest = hashlib.sha256()
    sources = (path for path in (ROOT / "csrc").rglob("*") if path.is_file())
    for path in [ROOT / "CMakeLists.txt", *sorted(sources)]:
        name = path.relative_to(ROOT).as_posix()
        digest.update(f"{name} {path.stat().st_size}\n".encode() + path.read_bytes())
    return digest.hexdigest()


def run(command: list[str], environment: dict[str, str]) -> None:
    if subprocess.run(command, env=environment).returncode != 0:
        raise SystemExit(f"error: building peclip_fast._C failed, see above; it ran: {command}")


class CMakeBuild(build_ext):
    def build_extension(self, ext: Extension) -> None:
        target = Path(self.get_ext_fullpath(ext.name)).resolve()
        build = Path(self.build_temp).resolve() / "cmake"
        build.mkdir(parents=True, exist_ok=True)
        environment = dict(os.environ)
        settings = {
            "CMAKE_BUILD_TYPE": "Release",
            "CMAKE_MAKE_PROGRAM": find_tool("ninja"),
            "CMAKE_LIBRARY_OUTPUT_DIRECTORY": str(build / "lib"),
            "PECLIP_FAST_VERSION": self.distribution.get_version(),
            "Python_EXECUTABLE": sys.executable,
            "pybind11_DIR": pybind11.get_cmake_dir(),
            "PECLIP_FAST_CUDA": "ON" if cuda_wanted() else "OFF",
        }
        if cuda_wanted():
            nvcc = find_nvcc()
            settings["CMAKE_CUDA_COMPILER"] = str(nvcc)
            settings["CMAKE_CUDA_ARCHITECTURES"] = cuda_architectures()
            # The nvcc of the build requirements does not look for cudart in its own lib folder.
            libraries = [str(nvcc.resolve().parents[1] / "lib"), environment.get("LIBRARY_PATH")]
            environment["LIBRARY_PATH"] = os.pathsep.join(filter(None, libraries))
        module = build / "lib" / target.name
        tools = {"CMAKE_MAKE_PROGRAM", "CMAKE_CUDA_COMPILER", "pybind11_DIR", "Python_EXECUTABLE"}
        made_from = {
            **{name: value for name, value in settings.items() if name not in tools},
            "sources": digest_of_sources(),
            "pybind11": pybind11.__version__,
            "python": sys.version,
            "c++": version_of(environment.get("CXX", "c++")),
            "nvcc": version_of(settings["CMAKE_CUDA_COMPILER"]) if cuda_wanted() else None,
            "flags": [environment.get(name) for name in FLAGS],
        }
        # `pip install .` has other paths of the same tools each time, by which CMake would make
        # everything anew; a module that the same would come out of is taken as it is.
        record_made = build / "made_from.json"
        if not (module.is_file() and _read(record_made) == json.dumps(made_from)):
            record_made.unlink(missing_ok=True)
            self._build(build, settings, environment)
            record_made.write_text(json.dumps(made_from))
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(module, target)

    def _build(self, build: Path, settings: dict[str, str], environment: dict[str, str]) -> None:
        cmake = find_tool("cmake")
        command = [cmake, "-S", str(ROOT), "-B", str(build), "-G", "Ninja"]
        command += [f"-D{name}={value}" for name, value in settings.items()]
        # An isolated build leaves paths of tools that are gone in CMake's cache: a build folder is
        # used again only with the same tools and settings.
        record = build / "settings.json"
        text = json.dumps([*command, *(environment.get(name) for name in FLAGS)], indent=1)
        if _read(record) != text:
            command.append("--fresh")
        run(command, environment)
        record.write_text(text)
        run([cmake, "--build", str(build)], environment)


def _read(path: Path) -> str | None:
    return path.read_text() if path.is_file() else None


setup(ext_modules=[Extension("peclip_fast._C", sources=[])], cmdclass={"build_ext": CMakeBuild})
