"""benchmarks/gpu.sh as far as a machine without a GPU can tell: what it starts, is there."""

from __future__ import annotations

import argparse
import os
import runpy
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

import pytest
import torch

from peclip_fast.commands.check.gpu import main

ROOT = Path(__file__).parents[2]
# Writes its arguments down, a line a call, and knows a GPU of compute capability 9.0.
PYTHON = """#!/usr/bin/env bash
printf '%s\\t' "$@" | tr '\\n' ' ' >> "$CALLS"
echo >> "$CALLS"
case "$*" in *get_device_capability*) echo 90 ;; esac
case "$*" in *"$FAILING"*) exit 1 ;; esac
"""
SANITIZER = """#!/usr/bin/env bash
while [ "$1" != "$PYTHON" ]; do shift; done
"$@"
"""


def started(
    folder: Path, failing: str = "nothing of this name"
) -> tuple[list[list[str]], str, int]:
    """The arguments of each Python that the script starts, what it prints, and its exit code."""
    stubs = {"python": PYTHON, "compute-sanitizer": SANITIZER, "nvidia-smi": "#!/bin/sh\n"}
    for name, text in stubs.items():
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    calls = folder / "calls"
    environment = {
        **os.environ, "PATH": f"{folder}:{os.environ['PATH']}", "PYTHON": str(folder / "python"),
        "CALLS": str(calls), "OUT": str(folder / "out"), "FAILING": failing,
    }  # fmt: skip
    done = subprocess.run(
        ["bash", str(ROOT / "benchmarks" / "gpu.sh")],
        env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True,
    )  # fmt: skip
    lines = calls.read_text().splitlines()
    return [line.rstrip("\t").split("\t") for line in lines], done.stdout, done.returncode


@pytest.fixture(scope="module")
def calls(tmp_path_factory: pytest.TempPathFactory) -> list[list[str]]:
    found, printed, code = started(tmp_path_factory.mktemp("stubs"))
    assert code == 0
    assert "all steps passed" in printed
    return found


def accepts(module: str, arguments: Sequence[str], patch: pytest.MonkeyPatch) -> bool:
    """Whether a program's parser takes these. The program goes no further."""

    def parse(parser: argparse.ArgumentParser) -> NoReturn:
        _, unknown = parser.parse_known_args()  # exits with 2 where a value is wrong
        raise SystemExit(2 if unknown else 0)

    patch.setattr(argparse.ArgumentParser, "parse_args", parse)
    patch.setattr("sys.argv", [module, *arguments])
    with pytest.raises(SystemExit) as caught:
        runpy.run_module(module, run_name="__main__")
    assert caught.value.code in (0, 2)
    return caught.value.code == 0


@pytest.mark.slow
def test_programs_take_their_options(
    calls: list[list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    others = ("pytest", "peclip_fast")
    programs = [call[1:] for call in calls if call[0] == "-m" and call[1] not in others]
    assert len({module for module, *_ in programs}) >= 10
    for module, *arguments in programs:
        assert accepts(module, arguments, monkeypatch), (module, arguments)
        if module != "benchmarks.compile_checks.sanitize":
            assert arguments[arguments.index("--device") + 1] == "cuda"
            assert Path(arguments[arguments.index("--output") + 1]).name == "out"
    for wrong in (["--no-such-option", "1"], ["--frames", "many"], ["--what", "sleep"]):
        assert not accepts("benchmarks.scaling", wrong, monkeypatch), wrong


def test_its_tests_are_there(calls: list[list[str]]) -> None:
    paths = [word for call in calls if call[1] == "pytest" for word in call if "tests/" in word]
    assert paths
    assert [path for path in paths if not (ROOT / path).exists()] == []


def test_every_tool_of_the_sanitizer(calls: list[list[str]]) -> None:
    """One call each: the kernels' races, barriers and memory that nothing has written."""
    text = (ROOT / "benchmarks" / "gpu.sh").read_text()
    assert "for tool in memcheck racecheck synccheck initcheck; do" in text
    sanitized = [call for call in calls if "benchmarks.compile_checks.sanitize" in call]
    assert len(sanitized) == 4


def test_it_writes_the_verdicts_to_ship(calls: list[list[str]]) -> None:
    checks = [call for call in calls if call[:3] == ["-m", "peclip_fast", "check-gpu"]]
    assert [call[call.index("--train.precision") + 1] for call in checks] == [
        "fp32",
        "bf16",
        "fp16",
    ]
    files = {Path(call[call.index("--output") + 1]).name for call in checks}
    assert files == {f"verdicts-{name}.json" for name in ("fp32", "bf16", "fp16")}
    assert "peclip_fast/ops/verdicts/shipped" in (ROOT / "docs/tutorials/gpu.md").read_text()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_the_check_takes_its_options(
    calls: list[list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    (first, *_) = [call for call in calls if "check-gpu" in call]
    assert main(first[3:]) == 2
    assert capsys.readouterr().err.startswith("error: train.device=cuda: no CUDA device here")


def test_it_builds_before_it_tests(calls: list[list[str]]) -> None:
    first = next(call for call in calls if call[0] != "-c")
    assert first == ["setup.py", "--quiet", "build_ext", "--inplace"]


def test_a_step_that_fails_is_named_and_the_others_run(tmp_path: Path) -> None:
    found, printed, code = started(tmp_path, failing="benchmarks.pe_clip")
    assert code == 1
    assert printed.splitlines()[-1] == "failed: pe_clip"
    assert any("benchmarks.loss_curves" in call for call in found)
