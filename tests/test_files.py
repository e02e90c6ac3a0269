"""Files are whole or not there."""

from __future__ import annotations

import builtins
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from unittest import mock

import pytest
from helpers.tiny_runs import largest_file
from hypothesis import given
from hypothesis import strategies as st

from peclip_fast.errors import InputError
from peclip_fast.files import check_writable, clear_partial, write_bytes


def test_a_write_that_fails_leaves_the_former_file(tmp_path):
    path = tmp_path / "file"
    write_bytes(path, b"old")
    with largest_file(1000), pytest.raises(OSError) as raised:
        write_bytes(path, bytes(2000))
    assert raised.value.filename == str(path)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


@given(
    old=st.none() | st.binary(max_size=99), new=st.binary(max_size=99), at=st.integers(0, 3),
    error=st.sampled_from([OSError(28, "No space left on device"), KeyboardInterrupt()]),
)  # fmt: skip
def test_whatever_step_fails_the_file_is_whole(old, new, at, error):
    """The former content or the new one, and nothing else in the folder."""
    steps = [(builtins, "open"), (os, "fsync"), (os, "replace")]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "file"
        if old is not None:
            path.write_bytes(old)
        if at < len(steps):
            with mock.patch.object(*steps[at], side_effect=error), pytest.raises(type(error)):
                write_bytes(path, new)
            assert (path.read_bytes() if path.exists() else None) == old
        else:
            write_bytes(path, memoryview(new))
            assert path.read_bytes() == new
        assert {p.name for p in Path(folder).iterdir()} <= {"file"}


def test_check_writable_leaves_nothing(tmp_path):
    check_writable(tmp_path / "a" / "b")
    assert list(tmp_path.iterdir()) == []


def test_check_writable_where_nothing_can_be_written(tmp_path):
    with pytest.raises(InputError, match=r"^/proc/run: can't write there"):
        check_writable(Path("/proc/run"))
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"file is a file; expected a folder"):
        check_writable(tmp_path / "file" / "run")
    with largest_file(1000), pytest.raises(InputError, match="can't write there"):
        check_writable(tmp_path)


def test_check_writable_of_links(tmp_path):
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    for name in ("dangling", "loop"):
        for folder in (tmp_path / name, tmp_path / name / "run"):
            with pytest.raises(InputError, match=f"^{folder}: .*{name} is a link to nothing"):
                check_writable(folder)


READ_ONLY = "/proc/cache"


@pytest.mark.parametrize(
    ("variables", "told"),
    [
        ({"XDG_CACHE_HOME": READ_ONLY}, f"{READ_ONLY}/peclip_fast: can't write there"),
        ({"HOME": "/proc/home"}, "/proc/home/.cache/peclip_fast: can't write there"),
        ({"HOME": None}, "no home directory"),
    ],
)
def test_a_cache_that_can_not_be_written_goes_elsewhere(variables, told, tmp_path):
    """Said once; as for a container's user, whom no password file knows."""
    code = """
import os, pwd
def nobody(_): raise KeyError
pwd.getpwuid = nobody
from peclip_fast.files import cache_folder
for _ in range(3):
    folder = cache_folder()
print(folder)
"""
    environment = {"PYTHONPATH": os.pathsep.join(sys.path), "TMPDIR": str(tmp_path)}
    environment |= {name: value for name, value in variables.items() if value}
    ended = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True
    )
    other = tmp_path / f"peclip_fast-{os.getuid()}"
    assert ended.stdout == f"{other}\n"
    assert ended.stderr == (
        f"warning: {told}: the cache is in {other}; XDG_CACHE_HOME names another place\n"
    )
    assert other.stat().st_mode & 0o777 == 0o700


def test_what_others_write_is_left_alone(tmp_path):
    for name in ("a.npz", "a.npz.tmp-12", "b.npz.tmp-12", "a.npz.tmp-old.npz.tmp-3"):
        (tmp_path / name).write_bytes(b"")
    clear_partial([tmp_path / "a.npz", tmp_path / "not/there.npz"])
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "a.npz",
        "a.npz.tmp-old.npz.tmp-3",
        "b.npz.tmp-12",
    ]


def test_folders_of_processes_that_were_ended_are_cleared(tmp_path):
    (tmp_path / "m.onnx.tmp-12" / "folder").mkdir(parents=True)
    clear_partial([tmp_path / "m.onnx"])
    assert list(tmp_path.iterdir()) == []
