"""How commands end."""

from __future__ import annotations

import errno
import os
import subprocess
import sys

import pytest
import torch

from peclip_fast.commands.shared.running import run_command
from peclip_fast.errors import InputError


def fail_with(error: BaseException):
    def command(argv: list[str]) -> None:
        raise error

    return command


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (InputError("x.txt:3: two\n fields"), "error: x.txt:3: two fields"),
        (
            OSError(errno.ENOSPC, "No space left on device", "run/last.ckpt"),
            "error: run/last.ckpt: No space left on device",
        ),
        (OSError("broken"), "error: broken"),
        (torch.OutOfMemoryError("no memory"), "error: no memory; lower train.batch_size"),
    ],
)
def test_what_users_can_mend_is_one_line(capsys, error, line):
    assert run_command(fail_with(error), []) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(line)
    assert err.count("\n") == 1


def test_success(capsys):
    seen = []
    assert run_command(seen.extend, ["a", "b"]) == 0
    assert seen == ["a", "b"]


def test_bugs_keep_their_traceback():
    with pytest.raises(KeyError):
        run_command(fail_with(KeyError("bug")), [])


def test_interrupt(capsys):
    assert run_command(fail_with(KeyboardInterrupt()), []) == 130
    assert capsys.readouterr().err == "interrupted\n"


def test_output_that_nobody_reads(tmp_path):
    """``compare --help | head -1`` ends without a word."""
    command = f"{sys.executable} -m peclip_fast compare --help | head -1"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    ended = subprocess.run(
        command, shell=True, cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert ended.stdout.startswith("usage: peclip-fast compare")
    assert ended.stderr == ""
