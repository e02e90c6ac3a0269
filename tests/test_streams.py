"""Streams that are closed, full, or of an encoding that lacks letters: no traceback, no loss."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

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


def test_letters_that_an_encoding_lacks_are_escaped(
    tiny_run: Path, tiny_clips: Path, tmp_path: Path
) -> None:
    clip = tmp_path / NAMES
    clip.symlink_to(next((tiny_clips / "test" / "anger").iterdir()))
    ended = shell(f"{COMMAND} predict {tiny_run} '{NAMES}'", tmp_path, PYTHONIOENCODING="ascii")
    assert (ended.returncode, ended.stderr) == (0, "")
    assert "col\\xe8re \\u6012" in ended.stdout
    ended = shell(f"{COMMAND} compare '{NAMES}' x", tmp_path, PYTHONIOENCODING="latin-1")
    assert ended.returncode == 2
    assert ended.stderr.startswith("error: colère \\u6012")
    assert ended.stderr.count("\n") == 1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("streams", "code", "line"),
    [
        ("| head -1", 141, "standard output can't be written; go on with it by python -m "
         "peclip_fast.train --output run --resume\n"),
        (">/dev/full", 2, FULL),
        ("<&- >&-", 0, ""),
    ],
)  # fmt: skip
def test_a_run(streams: str, code: int, line: str, tiny_run: Path, tmp_path: Path) -> None:
    """It ends in a state from which it goes on, or goes on by itself."""
    train = f"{COMMAND} train --config {tiny_run}/config.yaml --output run"
    ended = shell(f"{train} {streams}", tmp_path)
    assert (ended.returncode, ended.stderr) == (code, line)
    if code == 2:  # nothing was learned yet
        assert not (tmp_path / "run").exists()
        return
    if code:
        assert main(["--output", str(tmp_path / "run"), "--resume"]) == 0
    whole, found = (run / "model/model.safetensors" for run in (tiny_run, tmp_path / "run"))
    assert found.read_bytes() == whole.read_bytes()
