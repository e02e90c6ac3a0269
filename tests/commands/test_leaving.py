"""How a process ends: with the code, and what was said on its way out."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

CODE = """
import atexit, sys
from peclip_fast.commands.shared.running import leave
atexit.register(lambda: print("tidied"))
print("said")
leave(3)
"""


@pytest.mark.parametrize(("processes", "out"), [("1", "said\ntidied\n"), ("2", "said\n")])
def test_one_of_several_processes_leaves_python_as_it_is(processes: str, out: str) -> None:
    environment = {"PYTHONPATH": os.pathsep.join(sys.path), "WORLD_SIZE": processes}
    ended = subprocess.run(
        [sys.executable, "-c", CODE], env=os.environ | environment, capture_output=True, text=True
    )
    assert (ended.returncode, ended.stdout) == (3, out)
