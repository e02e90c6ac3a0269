"""Streams that are closed, full, or of an encoding that lacks letters: no traceback, no loss."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.forked import Forked
from helpers.tiny_runs import no_pictures

from peclip_fast.commands.shared.main import script
from peclip_fast.commands.train import main

COMMAND = f"{sys.executable} -m peclip_fast"
FULL = "error: standard output: No space left on device\n"


def shell(line: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    variables = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)} | environment
    return subprocess.run(
        ["bash", "-c", f"set -o pipefail; {line}"],
        cwd=folder,
        env=variables,
        capture_output=True,
        encoding=environment.get("PYTHONIOENCODING", "utf-8"),
    )


@pytest.mark.parametrize("arguments", ["compare --help", "data"])
@pytest.mark.parametrize(
    "streams", [">&-", "2>&-", "<&-", "<&- >&- 2>&-", ">/dev/full", "2>/dev/full", "| head -0"]
)
def test_whatever_they_are(arguments: str, streams: str, tmp_path: Path) -> None:
    ended = shell(f"{COMMAND} {arguments} {streams}", tmp_path)
    full = streams == ">/dev/full" and arguments != "data"
    assert ended.returncode == (2 if arguments == "data" or full else 0)
    said = "" if "2>" in streams or (arguments != "data" and not full) else ended.stderr
    assert ended.stderr == (FULL if full else said)
    assert ended.stderr.count("\n") <= 1
    assert list(tmp_path.iterdir()) == []


NAMES = "colère 怒り"


def test_letters_that_an_encoding_lacks_are_escaped(tiny_run: Path, tmp_path: Path) -> None:
    (tmp_path / NAMES).symlink_to(tiny_run)
    ended = shell(f"{COMMAND} compare {tiny_run} '{NAMES}'", tmp_path, PYTHONIOENCODING="ascii")
    assert (ended.returncode, ended.stderr) == (0, "")
    assert "col\\xe8re \\u6012" in ended.stdout
    (tmp_path / NAMES).unlink()
    ended = shell(f"{COMMAND} compare '{NAMES}' x", tmp_path, PYTHONIOENCODING="latin-1")
    assert ended.returncode == 2
    assert ended.stderr.startswith("error: colère \\u6012")
    assert ended.stderr.count("\n") == 1


def start(tiny_run: Path, folder: Path, output: Path) -> Forked:
    argv = ["train", "--config", str(tiny_run / "config.yaml"), "--output", str(folder / "run")]
    return Forked(script, argv, output=output, errors=folder / "said")


def check_same(run: Path, whole: Path) -> None:
    found, expected = (path / "model/model.safetensors" for path in (run, whole))
    assert found.read_bytes() == expected.read_bytes()


@pytest.mark.slow
def test_a_run_whose_reader_has_gone(tiny_run: Path, tmp_path: Path) -> None:
    """It ends in a state from which it goes on."""
    pipe, run = tmp_path / "pipe", tmp_path / "run"
    os.mkfifo(pipe)
    process = start(tiny_run, tmp_path, pipe)
    subprocess.run(["head", "-1", str(pipe)], check=True, capture_output=True)
    assert process.wait(120) == 141
    assert process.said(process.errors) == (
        "standard output can't be written; go on with it by python -m peclip_fast.train "
        f"--output {run} --resume\n"
    )
    with no_pictures():
        assert main(["--output", str(run), "--resume"]) == 0
    check_same(run, tiny_run)


@pytest.mark.slow
def test_a_run_whose_output_is_full(tiny_run: Path, tmp_path: Path) -> None:
    """It leaves nothing, as nothing was learned yet."""
    process = start(tiny_run, tmp_path, Path("/dev/full"))
    assert (process.wait(120), process.said(process.errors)) == (2, FULL)
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_a_run_whose_streams_are_closed(tiny_run: Path, tmp_path: Path) -> None:
    """It goes on by itself."""
    train = f"{COMMAND} train --config {tiny_run}/config.yaml --output run"
    ended = shell(f"{train} <&- >&-", tmp_path)
    assert (ended.returncode, ended.stderr) == (0, "")
    check_same(tmp_path / "run", tiny_run)
