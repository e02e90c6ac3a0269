"""How an archive by Ray ends when its machine has gone; test_archive has how it is told to."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
from helpers.archives import analyzing, write_archive

pytestmark = pytest.mark.slow
SECONDS = 240  # until something happens


@pytest.fixture
def working(trained_run, tmp_path, monkeypatch):
    """The command, which has analyzed a video."""
    pytest.importorskip("ray", reason="Ray is not installed")
    # Ray would look there first.
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    listed, output = write_archive(tmp_path / "v", 60, 0), tmp_path / "out"
    process = analyzing(trained_run, listed, output, "--engine", "ray")
    end = time.monotonic() + SECONDS
    while not list(output.glob("videos/*/*/run.json")):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end
        time.sleep(0.05)
    yield process
    process.kill()
    process.communicate()


def test_a_lost_machine_is_not_waited_for(working):
    children = subprocess.run(
        ["ps", "-ww", "-o", "pid=,args=", "--ppid", str(working.pid)],
        check=True, capture_output=True, text=True,
    ).stdout.splitlines()  # fmt: skip
    raylets = [line for line in children if Path(line.split()[1]).name == "raylet"]
    assert len(raylets) == 1, children
    os.kill(int(raylets[0].split()[0]), signal.SIGKILL)
    _, err = working.communicate(timeout=SECONDS)
    assert working.returncode == 2
    assert err.splitlines()[-1] == (
        "error: Ray has lost machines: --workers 1 --decoders 0: the cluster has 0 cores; "
        "the same command goes on"
    )
